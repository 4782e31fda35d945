package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/state/quorum"
)

// ListNodes implements [api.Nodes].
func (b *backend) ListNodes(context.Context) ([]api.Node, error) {
	v := b.quorum.View()
	states := b.nodeStates()
	var out []api.Node
	for _, n := range v.Nodes() {
		out = append(out, b.node(v, n, states))
	}
	return out, nil
}

// nodeStates is what gossip has heard last.
func (b *backend) nodeStates() map[string]api.NodeState {
	states := map[string]api.NodeState{}
	for _, m := range b.gossip.Members() {
		states[m.Node] = api.NodeState(m.State)
	}
	return states
}

func (b *backend) node(v state.View, n state.Node, states map[string]api.NodeState) api.Node {
	taken := v.Allocated(n.Name)
	x := api.Node{
		Name: n.Name, Site: n.Site, Address: n.Addr.String(), Gossip: n.Gossip.String(), State: api.NodeUnknown, Cordoned: n.Cordoned,
		Role: role(b.quorum.Status(), n), Version: n.Version, Arch: n.Arch, Kernel: n.Kernel, CRIU: n.CRIU, RTTms: api.Milliseconds(b.transport.RTT(n.Name)),
		Capacity: resources(n.Capacity), Requested: resources(taken.Requested), Labels: n.Labels(),
	}
	for _, p := range v.Pods() {
		if p.Node == n.Name {
			x.Pods++
		}
	}
	if s, ok := states[n.Name]; ok {
		x.State = s
	}
	return x
}

func resources(r state.Resources) api.Resources {
	return api.Resources{CPUMilli: r.CPU, MemoryBytes: r.Memory}
}

func role(q quorum.Status, n state.Node) string {
	switch {
	case n.Name == q.Leader:
		return "leader"
	case slices.Contains(q.Voters, n.Name):
		return "voter"
	case n.Server:
		return "joining"
	}
	return "plain"
}

// nodeView is the committed state, if that node is in it.
func (b *backend) nodeView(ctx context.Context, what, node string) (state.View, error) {
	v, err := b.view(ctx, what)
	if err != nil {
		return v, err
	}
	if _, ok := v.Node(node); !ok {
		return v, api.Errorf(api.NotFound, what, "there is no node %s", node).WithCure("see drover node ls")
	}
	return v, nil
}

// GetNode implements [api.Nodes].
func (b *backend) GetNode(ctx context.Context, name string) (api.NodeDetails, error) {
	v, err := b.nodeView(ctx, "looking for node "+name, name)
	if err != nil {
		return api.NodeDetails{}, err
	}
	n, _ := v.Node(name)
	d := api.NodeDetails{
		Node: b.node(v, n, b.nodeStates()), Draining: name == b.config.Node && b.drains.running(),
		CPUFlags: slices.Clone(n.CPUFlags), PodList: []api.NodePod{}, Drained: []string{}, Moves: []api.Migration{},
	}
	for _, p := range v.Pods() {
		if p.Node == name {
			d.PodList = append(d.PodList, api.NodePod{
				Name: p.Name, Phase: b.describe(p).Phase, Requested: api.Resources{CPUMilli: p.Needs.CPU, MemoryBytes: p.Needs.Memory},
				Pinned: p.Needs.Pinned,
			})
		} else if p.DrainedFrom == name {
			d.Drained = append(d.Drained, p.Name)
		}
	}
	for _, m := range v.Migrations() {
		if m.Phase.Open() && (m.Source == name || m.Target == name) {
			d.Moves = append(d.Moves, b.migration(m))
		}
	}
	return d, nil
}

// LabelNode implements [api.Nodes].
func (b *backend) LabelNode(ctx context.Context, name string, c api.LabelChange) (api.Node, error) {
	what := "labelling node " + name
	if _, err := b.nodeView(ctx, what, name); err != nil {
		return api.Node{}, err
	}
	return b.changed(ctx, what, name, state.LabelNode{Name: name, Set: c.Set, Remove: c.Remove, Overwrite: c.Overwrite})
}

// CordonNode implements [api.Nodes].
func (b *backend) CordonNode(ctx context.Context, name string, cordoned bool) (api.Node, error) {
	what := "cordoning node " + name
	if !cordoned {
		what = "uncordoning node " + name
	}
	if _, err := b.nodeView(ctx, what, name); err != nil {
		return api.Node{}, err
	}
	return b.changed(ctx, what, name, state.CordonNode{Name: name, Cordoned: cordoned})
}

// setCordon returns when this node has heard that the node is cordoned, or isn't any more.
func (b *backend) setCordon(ctx context.Context, what, node string, cordoned bool) error {
	_, err := b.changed(ctx, what, node, state.CordonNode{Name: node, Cordoned: cordoned})
	return err
}

// changed proposes a change of a node and returns the node as it is once this node has heard of it.
func (b *backend) changed(ctx context.Context, what, name string, c state.Command) (api.Node, error) {
	r, err := b.pods.ask(ctx, what, c)
	if err != nil {
		return api.Node{}, err
	}
	if !r.OK {
		return api.Node{}, api.Errorf(api.FailedPrecondition, what, "%s", r.Reason).WithCure(r.Cure)
	}
	if err := b.quorum.Sync(ctx); err != nil {
		return api.Node{}, api.Errorf(api.Unavailable, what, "it was agreed, but this node has not heard of it: %w", err)
	}
	v := b.quorum.View()
	n, _ := v.Node(name)
	return b.node(v, n, b.nodeStates()), nil
}

// RemoveNode implements [api.Nodes].
func (b *backend) RemoveNode(ctx context.Context, name string, o api.RemoveNodeOptions) (api.Removal, error) {
	what := "removing node " + name
	v, err := b.view(ctx, what)
	if err != nil {
		return api.Removal{}, err
	}
	if e, enrolled := v.Enrolment(name); !enrolled || e.Removed { // one that has joined may never have been seen
		if _, err := b.nodeView(ctx, what, name); err != nil {
			return api.Removal{}, err
		}
	}
	lost := api.Removal{Node: name, Pods: []string{}, Volumes: []string{}}
	for _, p := range v.Pods() {
		if p.Node == name {
			lost.Pods = append(lost.Pods, p.Name)
		}
	}
	for _, x := range v.VolumesAt(name) {
		lost.Volumes = append(lost.Volumes, x.Name)
	}
	if e := removalRefused(what, b.ready()(name), lost, o); e != nil {
		return api.Removal{}, e
	}
	r, err := b.pods.ask(ctx, what, state.ForgetNode{Name: name, DeletePods: len(lost.Pods)+len(lost.Volumes) > 0, At: time.Now()})
	if err != nil {
		return api.Removal{}, err
	}
	if !r.OK {
		return api.Removal{}, api.Errorf(api.FailedPrecondition, what, "%s", r.Reason).WithCure(r.Cure)
	}
	return lost, nil
}

// removalRefused says why a node that has this must not be forgotten yet, or nil. gone is why it can't be asked, "" if it
// is alive. Pods that are known to run are never forgotten: they would run on, and nobody would know.
func removalRefused(what, gone string, has api.Removal, o api.RemoveNodeOptions) *api.Error {
	alive := gone == ""
	all := slices.Clone(has.Pods)
	for _, volume := range has.Volumes {
		all = append(all, "volume "+volume)
	}
	list := strings.Join(all, ", ")
	giveUp := fmt.Sprintf("drover node rm %s --delete-pods gives up %s", has.Node, list)
	switch {
	case alive && len(has.Pods) > 0:
		return api.Errorf(api.FailedPrecondition, what, "it runs %s", strings.Join(has.Pods, ", ")).
			WithCure("move them away first: drover node drain " + has.Node)
	case len(all) > 0 && !o.DeletePods && alive:
		return api.Errorf(api.FailedPrecondition, what, "it has %s, which no other node has", list).
			WithCure("remove what nobody needs, or run the pods that use it; " + giveUp)
	case len(all) > 0 && !o.DeletePods:
		return api.Errorf(api.FailedPrecondition, what, "%s, and it has %s: the memory and the files of those are there and nowhere else", gone, list).
			WithCure("if the host or its agent can be started again, do that, and drain it.\nIf never: switch it off, then " + giveUp + ". All that they had is lost")
	case alive && !o.Force:
		return api.Errorf(api.FailedPrecondition, what, "its agent is alive").
			WithCure("stop it there first: systemctl disable --now drover-agent; or remove it all the same with --force")
	}
	return nil
}

// Explain implements [api.Nodes].
func (b *backend) Explain(ctx context.Context, name string, manifest []byte, to string) (api.Explanation, error) {
	if len(manifest) == 0 {
		p, err := b.pod(ctx, name)
		if err != nil {
			return api.Explanation{}, err
		}
		return b.explain(ctx, p, state.Request{Pod: &p, To: to})
	}
	m, err := parse(manifest)
	if err != nil {
		return api.Explanation{}, err
	}
	if to == "" {
		to = m.NodeName()
	}
	return b.explain(ctx, state.Pod{Name: m.Name()}, state.Request{Needs: m.Needs(), To: to})
}

func (b *backend) explain(ctx context.Context, p state.Pod, r state.Request) (api.Explanation, error) {
	what := "explaining where pod " + p.Name + " may run"
	v, err := b.view(ctx, what)
	if err != nil {
		return api.Explanation{}, err
	}
	r.Ready = b.ready()
	d := state.Schedule(v, r)
	if len(d.Nodes) == 0 {
		return api.Explanation{}, nowhere(what, r, d)
	}
	x := explanation(p, d)
	x.Lost = b.lost(p)
	return x, nil
}
