package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/drover-mesh/drover/agent/pod"
)

// askHTTP puts an HTTP probe as the kubelet does: no connection is kept, no certificate verified, no redirection to another
// host followed.
func askHTTP(ctx context.Context, p *pod.HTTPProbe, addr string) error {
	host := addr
	if p.Host != "" {
		host = p.Host
	}
	url := p.Scheme + "://" + net.JoinHostPort(host, strconv.Itoa(p.Port)) + p.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "drover-probe")
	for _, h := range p.Headers {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as the kubelet: the probe asks whether it answers, not who
		},
		CheckRedirect: func(next *http.Request, _ []*http.Request) error {
			if next.URL.Hostname() != host {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return nil
}

// askTCP puts a TCP probe: it passes when a connection is accepted.
func askTCP(ctx context.Context, p *pod.TCPProbe, addr string) error {
	if p.Host != "" {
		addr = p.Host
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(addr, strconv.Itoa(p.Port)))
	if err != nil {
		return err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		return errors.Join(tcp.SetLinger(0), tcp.Close()) // leaves nothing that would have to time out
	}
	return conn.Close()
}
