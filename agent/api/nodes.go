package api

import (
	"context"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

type nodesHandler struct{ *handler }

func (h nodesHandler) List(ctx context.Context, _ *droverv1.ListNodesRequest) (*droverv1.ListNodesResponse, error) {
	nodes, err := h.backend.ListNodes(ctx)
	if err != nil {
		return nil, err
	}
	return &droverv1.ListNodesResponse{Nodes: each(nodes, nodeToProto)}, nil
}

func (h nodesHandler) Get(ctx context.Context, req *droverv1.GetNodeRequest) (*droverv1.GetNodeResponse, error) {
	node, err := h.backend.GetNode(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	if node.Name != h.config.Node && forwardedBy(ctx) == "" {
		ctx, cancel := context.WithTimeout(ctx, peerPatience)
		defer cancel()
		if said, err := h.peer(node.Name).GetNode(ctx, node.Name); err == nil { // it knows its pods
			node.PodList, node.Draining = said.PodList, said.Draining
		}
	}
	return nodeDetailsToProto(node), nil
}

func (h nodesHandler) Label(ctx context.Context, req *droverv1.LabelNodeRequest) (*droverv1.LabelNodeResponse, error) {
	node, err := h.backend.LabelNode(ctx, req.GetName(), LabelChange{Set: req.GetSet(), Remove: req.GetRemove(), Overwrite: req.GetOverwrite()})
	if err != nil {
		return nil, err
	}
	return &droverv1.LabelNodeResponse{Node: nodeToProto(node)}, nil
}

func (h nodesHandler) Cordon(ctx context.Context, req *droverv1.CordonNodeRequest) (*droverv1.CordonNodeResponse, error) {
	node, err := h.backend.CordonNode(ctx, req.GetName(), req.GetCordoned())
	if err != nil {
		return nil, err
	}
	return &droverv1.CordonNodeResponse{Node: nodeToProto(node)}, nil
}

func (h nodesHandler) Remove(ctx context.Context, req *droverv1.RemoveNodeRequest) (*droverv1.RemoveNodeResponse, error) {
	r, err := h.backend.RemoveNode(ctx, req.GetName(), RemoveNodeOptions{Force: req.GetForce(), DeletePods: req.GetDeletePods()})
	if err != nil {
		return nil, err
	}
	return &droverv1.RemoveNodeResponse{LostPods: r.Pods, LostVolumes: r.Volumes}, nil
}

func (h nodesHandler) Drain(ctx context.Context, req *droverv1.DrainRequest, stream *connect.ServerStream[droverv1.DrainResponse]) error {
	o := DrainOptions{Parallel: int(req.GetParallel()), To: req.GetTo(), TimeoutMS: req.GetTimeoutMs(), DryRun: req.GetDryRun()}
	return h.follow(ctx, "draining", req.GetNode(), o, stream, API.DrainNode)
}

func (h nodesHandler) Undrain(ctx context.Context, req *droverv1.UndrainRequest, stream *connect.ServerStream[droverv1.DrainResponse]) error {
	o := DrainOptions{Parallel: int(req.GetParallel()), TimeoutMS: req.GetTimeoutMs(), DryRun: req.GetDryRun(), Return: req.GetReturnPods()}
	return h.follow(ctx, "undraining", req.GetNode(), o, stream, API.UndrainNode)
}

type drain func(a API, ctx context.Context, node string, o DrainOptions, p DrainProgress) (DrainReport, error)

// follow lets the node itself do it, and streams what happens.
func (h nodesHandler) follow(ctx context.Context, what, node string, o DrainOptions, stream *connect.ServerStream[droverv1.DrainResponse], do drain) error {
	if o.Parallel < 0 || o.TimeoutMS < 0 {
		return &Error{Code: InvalidArgument, What: what + " " + node, Violations: []Violation{{"parallel, timeout", "can't be negative"}}}
	}
	at, err := h.atNode(ctx, node)
	if err != nil {
		return err
	}
	relay := startRelay(stream, drainNews)
	report, err := do(at, ctx, node, o, drainRelay{relay})
	relay.finish()
	if report.Node != "" {
		sent := stream.Send(&droverv1.DrainResponse{Part: &droverv1.DrainResponse_Report{Report: drainReportToProto(report)}})
		if err == nil {
			err = sent
		}
	}
	return err
}

func (h nodesHandler) CancelDrain(ctx context.Context, req *droverv1.CancelDrainRequest) (*droverv1.CancelDrainResponse, error) {
	at, err := h.atNode(ctx, req.GetNode())
	if err != nil {
		return nil, err
	}
	if err := at.CancelDrain(ctx, req.GetNode()); err != nil {
		return nil, err
	}
	return &droverv1.CancelDrainResponse{}, nil
}

func (h nodesHandler) Explain(ctx context.Context, req *droverv1.ExplainRequest) (*droverv1.ExplainResponse, error) {
	x, err := h.backend.Explain(ctx, req.GetPod(), req.GetManifest(), req.GetTo())
	if err != nil {
		return nil, err
	}
	return explanationToProto(x), nil
}
