package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/drover-mesh/drover/agent/api/v1/droverv1connect"
)

const (
	// maxMessage bounds one message from the wire; a manifest, or a chunk of an image, is far smaller.
	maxMessage = 4 << 20
	// peerPatience is how long a list waits for the nodes that it asks for details.
	peerPatience = 2 * time.Second
)

// HandlerConfig says for which node a handler answers.
type HandlerConfig struct {
	Node  string       // name of the backend's node
	Peers *http.Client // reaches other nodes as http://NODE, see PeerClient
	Log   *slog.Logger
}

// handler implements the Connect services: it finds the node that has to answer and asks it, or the backend.
type handler struct {
	backend Backend
	config  HandlerConfig
}

// NewHandler serves backend. What another node has to answer is forwarded to it, once.
func NewHandler(backend Backend, config HandlerConfig) http.Handler {
	h := &handler{backend: backend, config: config}
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessage),
		connect.WithInterceptors(&outcome{log: config.Log}),
	}
	mux := http.NewServeMux()
	mux.Handle(droverv1connect.NewPodsHandler(podsHandler{h}, options...))
	mux.Handle(droverv1connect.NewImagesHandler(imagesHandler{h}, options...))
	mux.Handle(droverv1connect.NewMeshHandler(meshHandler{h}, options...))
	mux.Handle(droverv1connect.NewNodesHandler(nodesHandler{h}, options...))
	mux.Handle(droverv1connect.NewMigrationsHandler(migrationsHandler{h}, options...))
	mux.Handle(droverv1connect.NewContainersHandler(containersHandler{h}, options...))
	mux.Handle(droverv1connect.NewVolumesHandler(volumesHandler{h}, options...))
	mux.Handle(droverv1connect.NewEnrolmentHandler(enrolmentHandler{h}, options...))
	return mux
}

// at returns who answers for a node: the backend, or a client of the node. A request that was forwarded once goes no
// further: the nodes disagree about an owner, which passes.
func (h *handler) at(ctx context.Context, node string) (API, error) {
	if node == "" || node == h.config.Node {
		return h.backend, nil
	}
	if by := forwardedBy(ctx); by != "" {
		return nil, Errorf(Unavailable, "", "%s sent the request to %s, but %s should answer it: what they know differs for the moment",
			by, h.config.Node, node).WithCure("try again")
	}
	return h.peer(node), nil
}

func (h *handler) peer(node string) *Client {
	return NewPeerClient(h.config.Peers, h.config.Node, node)
}

// atOwner returns who answers for a pod.
func (h *handler) atOwner(ctx context.Context, pod string) (API, error) {
	p, err := h.backend.GetPod(ctx, pod)
	if err != nil {
		return nil, err
	}
	return h.at(ctx, p.Node)
}

// atNode returns who answers for a node that a caller named.
func (h *handler) atNode(ctx context.Context, node string) (API, error) {
	if node == "" || node == h.config.Node {
		return h.backend, nil
	}
	nodes, err := h.backend.ListNodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Name == node {
			return h.at(ctx, node)
		}
	}
	return nil, Errorf(NotFound, "", "no node is named %q", node).WithCure("drover node ls shows the nodes")
}

// outcome is an interceptor that logs failures and makes every error one that says what, why and the cure.
type outcome struct{ log *slog.Logger }

func (o *outcome) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, req)
		return resp, o.of(ctx, req.Spec().Procedure, err)
	}
}

func (o *outcome) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return o.of(ctx, conn.Spec().Procedure, next(ctx, conn))
	}
}

// WrapStreamingClient returns next: clients use other interceptors.
func (o *outcome) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (o *outcome) of(ctx context.Context, procedure string, err error) error {
	if err == nil {
		return nil
	}
	e := AsError(err)
	level := slog.LevelInfo
	if e.Code == Internal {
		level = slog.LevelError
	}
	o.log.Log(ctx, level, "request failed", "procedure", procedure, "code", string(e.Code), "error", err)
	return toConnect(e)
}
