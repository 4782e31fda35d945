package wan

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// maxControl bounds a request and an answer of the control protocol, in bytes.
const maxControl = 1 << 20

// ChangeRequest asks to change the direction from one site to another.
type ChangeRequest struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Change Change `json:"change"`
}

// Handler serves the control protocol, JSON over HTTP: GET /links returns []LinkStatus, POST /links
// takes a []ChangeRequest and applies it in order until one fails.
func (r *Router) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /links", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(r.Links()) //nolint:errcheck // the caller went away
	})
	mux.HandleFunc("POST /links", func(w http.ResponseWriter, req *http.Request) {
		var changes []ChangeRequest
		decoder := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxControl))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&changes); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, c := range changes {
			if err := r.Change(c.From, c.To, c.Change); err != nil {
				http.Error(w, err.Error(), http.StatusUnprocessableEntity)
				return
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// Client speaks the control protocol to a router in another process.
type Client struct {
	http http.Client
}

// NewClient returns a client of the router that serves on the unix socket.
func NewClient(socket string) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // the next command is seconds away
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Links returns the state of every directed link.
func (c *Client) Links(ctx context.Context) ([]LinkStatus, error) {
	var links []LinkStatus
	body, err := c.do(ctx, http.MethodGet, nil)
	if err != nil {
		return nil, fmt.Errorf("asking the WAN router for its links: %w", err)
	}
	if err := json.Unmarshal(body, &links); err != nil {
		return nil, fmt.Errorf("reading the links of the WAN router: %w", err)
	}
	return links, nil
}

// Change alters directions, in order; the first that fails ends it.
func (c *Client) Change(ctx context.Context, changes ...ChangeRequest) error {
	body, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, http.MethodPost, body); err != nil {
		return fmt.Errorf("changing the WAN: %w", err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://wan/links", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxControl))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s", bytes.TrimSpace(answer))
	}
	return answer, nil
}
