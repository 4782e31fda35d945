package apitest

import (
	"context"
	"fmt"

	"github.com/drover-mesh/drover/agent/api"
)

// ListNodes answers from Nodes.
func (b *Backend) ListNodes(context.Context) ([]api.Node, error) { return b.Nodes, b.Err }

// GetNode answers from NodeDetails, else from Nodes.
func (b *Backend) GetNode(_ context.Context, name string) (api.NodeDetails, error) {
	for _, d := range b.NodeDetails {
		if d.Name == name {
			return d, b.Err
		}
	}
	n, err := b.node(name)
	return api.NodeDetails{Node: n}, err
}

func (b *Backend) node(name string) (api.Node, error) {
	for _, n := range b.Nodes {
		if n.Name == name {
			return n, b.Err
		}
	}
	return api.Node{}, api.Errorf(api.NotFound, "", "there is no node %q", name)
}

// LabelNode only notes the call.
func (b *Backend) LabelNode(_ context.Context, name string, c api.LabelChange) (api.Node, error) {
	if err := b.call(fmt.Sprintf("label %s %v %v %v", name, c.Set, c.Remove, c.Overwrite)); err != nil {
		return api.Node{}, err
	}
	return b.node(name)
}

// CordonNode only notes the call.
func (b *Backend) CordonNode(_ context.Context, name string, cordoned bool) (api.Node, error) {
	if err := b.call(fmt.Sprintf("cordon %s %v", name, cordoned)); err != nil {
		return api.Node{}, err
	}
	n, err := b.node(name)
	n.Cordoned = cordoned
	return n, err
}

// RemoveNode answers by OnRemoveNode.
func (b *Backend) RemoveNode(_ context.Context, name string, o api.RemoveNodeOptions) (api.Removal, error) {
	if err := b.call("remove node " + name); err != nil {
		return api.Removal{}, err
	}
	return b.OnRemoveNode(name, o)
}

// DrainNode answers by OnDrain.
func (b *Backend) DrainNode(ctx context.Context, node string, o api.DrainOptions, p api.DrainProgress) (api.DrainReport, error) {
	if err := b.call("drain " + node); err != nil {
		return api.DrainReport{}, err
	}
	return b.OnDrain(ctx, node, o, p)
}

// UndrainNode answers by OnDrain.
func (b *Backend) UndrainNode(ctx context.Context, node string, o api.DrainOptions, p api.DrainProgress) (api.DrainReport, error) {
	if err := b.call("undrain " + node); err != nil {
		return api.DrainReport{}, err
	}
	return b.OnDrain(ctx, node, o, p)
}

// CancelDrain answers by OnCancelDrain.
func (b *Backend) CancelDrain(_ context.Context, node string) error {
	if err := b.call("cancel drain " + node); err != nil {
		return err
	}
	return b.OnCancelDrain(node)
}

// Explain answers by OnExplain.
func (b *Backend) Explain(_ context.Context, pod string, manifest []byte, to string) (api.Explanation, error) {
	if b.Err != nil {
		return api.Explanation{}, b.Err
	}
	return b.OnExplain(pod, manifest, to)
}
