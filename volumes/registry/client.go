package registry

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// errPlain says that a server wants to be spoken to without encryption.
var errPlain = errors.New("it speaks plain HTTP")

// base makes connections to a registry, and to where it redirects.
type base struct {
	http.RoundTripper
	http  *http.Transport
	plain bool // HTTP without TLS will do
}

func newTransport(insecure bool) *base {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		ForceAttemptHTTP2:     true,
	}
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	}
	b := &base{http: t, plain: insecure}
	again := transport.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}
	b.RoundTripper = transport.NewRetry(guard{b}, transport.WithRetryBackoff(again), transport.WithRetryStatusCodes(
		http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout))
	return b
}

func (b *base) close() { b.http.CloseIdleConnections() }

// guard refuses requests in the clear, also those to where a registry redirects.
type guard struct{ *base }

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.plain {
		return nil, errPlain
	}
	return g.http.RoundTrip(req)
}
