package api

import (
	"context"

	"connectrpc.com/connect"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// ListNodes returns the members of the mesh.
func (c *Client) ListNodes(ctx context.Context) ([]Node, error) {
	resp, err := c.nodes.List(ctx, &droverv1.ListNodesRequest{})
	return each(resp.GetNodes(), nodeFromProto), c.wrap(err)
}

// GetNode returns a node with its pods.
func (c *Client) GetNode(ctx context.Context, name string) (NodeDetails, error) {
	resp, err := c.nodes.Get(ctx, &droverv1.GetNodeRequest{Name: name})
	return nodeDetailsFromProto(resp), c.wrap(err)
}

// LabelNode changes the labels of a node.
func (c *Client) LabelNode(ctx context.Context, name string, change LabelChange) (Node, error) {
	resp, err := c.nodes.Label(ctx, &droverv1.LabelNodeRequest{Name: name, Set: change.Set, Remove: change.Remove, Overwrite: change.Overwrite})
	return nodeFromProto(resp.GetNode()), c.wrap(err)
}

// CordonNode closes a node to pods, or opens it again.
func (c *Client) CordonNode(ctx context.Context, name string, cordoned bool) (Node, error) {
	resp, err := c.nodes.Cordon(ctx, &droverv1.CordonNodeRequest{Name: name, Cordoned: cordoned})
	return nodeFromProto(resp.GetNode()), c.wrap(err)
}

// RemoveNode makes the mesh forget a node.
func (c *Client) RemoveNode(ctx context.Context, name string, o RemoveNodeOptions) (Removal, error) {
	resp, err := c.nodes.Remove(ctx, &droverv1.RemoveNodeRequest{Name: name, Force: o.Force, DeletePods: o.DeletePods})
	return Removal{Node: name, Pods: each(resp.GetLostPods(), same), Volumes: each(resp.GetLostVolumes(), same)}, c.wrap(err)
}

// DrainNode cordons a node and moves its pods away. When ctx ends it returns at once, and the node ends the drain after
// the moves that have begun; to see them undone, call CancelDrain instead and wait for DrainNode to return.
func (c *Client) DrainNode(ctx context.Context, node string, o DrainOptions, progress DrainProgress) (DrainReport, error) {
	stream, err := c.nodes.Drain(ctx, &droverv1.DrainRequest{
		Node: node, Parallel: int32(o.Parallel), To: o.To, TimeoutMs: o.TimeoutMS, DryRun: o.DryRun,
	})
	if err != nil {
		return DrainReport{}, c.wrap(err)
	}
	return c.followDrain(stream, "draining "+node, progress)
}

// UndrainNode uncordons a node and, if o says so, moves pods back. Ends of ctx are as with DrainNode.
func (c *Client) UndrainNode(ctx context.Context, node string, o DrainOptions, progress DrainProgress) (DrainReport, error) {
	stream, err := c.nodes.Undrain(ctx, &droverv1.UndrainRequest{
		Node: node, ReturnPods: o.Return, Parallel: int32(o.Parallel), TimeoutMs: o.TimeoutMS, DryRun: o.DryRun,
	})
	if err != nil {
		return DrainReport{}, c.wrap(err)
	}
	return c.followDrain(stream, "undraining "+node, progress)
}

func (c *Client) followDrain(stream *connect.ServerStreamForClient[droverv1.DrainResponse], what string, progress DrainProgress) (DrainReport, error) {
	defer func() { _ = stream.Close() }() // its error would only repeat the first
	var report *DrainReport
	for stream.Receive() {
		switch part := stream.Msg().GetPart().(type) {
		case *droverv1.DrainResponse_Plan:
			progress.Planned(each(part.Plan.GetPods(), same))
		case *droverv1.DrainResponse_Started:
			progress.Started(moveFromProto(part.Started))
		case *droverv1.DrainResponse_Event:
			progress.Event(part.Event.GetPod(), eventFromProto(part.Event.GetEvent()))
		case *droverv1.DrainResponse_Ended:
			progress.Ended(drainedFromProto(part.Ended))
		case *droverv1.DrainResponse_Report:
			r := drainReportFromProto(part.Report)
			report = &r
		}
	}
	err := stream.Err()
	switch {
	case report != nil:
		return *report, c.wrap(err)
	case err == nil:
		err = Errorf(Unavailable, what, "%s ended the stream without a report", c.target.name)
	}
	e := AsError(c.wrap(err))
	if cutShort(err) {
		e.Cure = "moves that had begun are settled by its next start; drover node ls and drover pod ls show how things stand"
	}
	return DrainReport{}, e
}

// CancelDrain ends the drain or undrain of a node.
func (c *Client) CancelDrain(ctx context.Context, node string) error {
	_, err := c.nodes.CancelDrain(ctx, &droverv1.CancelDrainRequest{Node: node})
	return c.wrap(err)
}

// Explain says where a pod could run.
func (c *Client) Explain(ctx context.Context, pod string, manifest []byte, to string) (Explanation, error) {
	resp, err := c.nodes.Explain(ctx, &droverv1.ExplainRequest{Pod: pod, Manifest: manifest, To: to})
	return explanationFromProto(resp), c.wrap(err)
}
