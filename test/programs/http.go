package programs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// web is one connection of HTTP that is kept.
type web struct {
	http.Client
	url string
}

func newWeb(dial Dialer, address string) web {
	dial = once(dial)
	return web{url: "http://" + address, Client: http.Client{Transport: &http.Transport{
		MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, address)
		},
	}}}
}

func (w *web) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := w.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return answer, err
}

func (w *web) Close() error {
	w.CloseIdleConnections()
	return nil
}

// webClient asks for a file whose content it knows.
type webClient struct{ web }

func dialHTTP(ctx context.Context, dial Dialer, address string) (Client, error) {
	c := &webClient{newWeb(dial, address)}
	return c, errors.Join(c.Beat(ctx))
}

func (c *webClient) Beat(ctx context.Context) error {
	answer, err := c.ask(ctx, http.MethodGet, "/file", nil)
	if err == nil && !strings.Contains(string(answer), "the file") {
		err = fmt.Errorf("the file holds %.60q", answer)
	}
	return err
}

// etcdClient speaks etcd's JSON over HTTP.
type etcdClient struct {
	web
	n int
}

func dialEtcd(ctx context.Context, dial Dialer, address string) (Client, error) {
	c := &etcdClient{web: newWeb(dial, address)}
	return c, c.Beat(ctx)
}

func (c *etcdClient) Beat(ctx context.Context) error {
	c.n++
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	put := fmt.Sprintf(`{"key":%q,"value":%q}`, encoded("beats"), encoded(fmt.Sprint(c.n)))
	if _, err := c.ask(ctx, http.MethodPost, "/v3/kv/put", []byte(put)); err != nil {
		return err
	}
	answer, err := c.ask(ctx, http.MethodPost, "/v3/kv/range", fmt.Appendf(nil, `{"key":%q}`, encoded("beats")))
	if err != nil {
		return err
	}
	var found struct {
		KVs []struct {
			Value   []byte
			Version string
		}
	}
	if err := json.Unmarshal(answer, &found); err != nil {
		return err
	}
	if len(found.KVs) != 1 || string(found.KVs[0].Value) != fmt.Sprint(c.n) || found.KVs[0].Version != fmt.Sprint(c.n) {
		return fmt.Errorf("after %d writes it holds %s", c.n, answer)
	}
	return nil
}
