package api

import (
	"context"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
)

// forwardedHeader names the node that forwarded a request, so that none goes round in circles.
const forwardedHeader = "Drover-Forwarded-By"

func forwardedBy(ctx context.Context) string {
	if info, ok := connect.CallInfoForHandlerContext(ctx); ok {
		return info.RequestHeader().Get(forwardedHeader)
	}
	return ""
}

// forwarding is a client interceptor that marks requests as forwarded by the node of this name.
type forwarding string

func (f forwarding) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set(forwardedHeader, string(f))
		return next(ctx, req)
	}
}

func (f forwarding) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set(forwardedHeader, string(f))
		return conn
	}
}

// WrapStreamingHandler returns next: it is no handler's interceptor.
func (f forwarding) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// PeerClient returns an HTTP client that reaches the API of other nodes as http://NODE, over connections that dial makes
// and authenticates. It speaks HTTP/2 without TLS of its own and keeps one connection a node; CloseIdleConnections
// gives them back.
func PeerClient(dial func(ctx context.Context, node string) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		Protocols: cleartextHTTP2(),
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			node, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return dial(ctx, node)
		},
		IdleConnTimeout: time.Minute,
	}}
}

// NewPeerClient returns a client of the agent of another node, for the agent self. What it asks goes no further than that
// node. peers is as PeerClient returns it.
func NewPeerClient(peers *http.Client, self, node string) *Client {
	return newClient(peers, "http://"+node, peerTarget(node), connect.WithInterceptors(forwarding(self)))
}

// cleartextHTTP2 is HTTP/2 by prior knowledge, which streams in both directions over any connection.
func cleartextHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}
