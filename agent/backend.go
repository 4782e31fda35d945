package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/gossip"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/state/quorum"
	"github.com/drover-mesh/drover/transport"
)

// backend answers the control API for this node.
type backend struct {
	config    configs.Config
	version   string
	started   time.Time
	pods      *pods
	images    *images
	moves     *moves
	gossip    *gossip.Mesh
	quorum    *quorum.Quorum
	catchUp   *catchUp
	transport *transport.Transport
}

var _ api.Backend = (*backend)(nil)

// GetStatus implements [api.Mesh].
func (b *backend) GetStatus(ctx context.Context) (api.Status, error) {
	v := b.quorum.View()
	nodes, err := b.ListNodes(ctx)
	if err != nil {
		return api.Status{}, err
	}
	q := b.quorum.Status()
	s := api.Status{
		Node: b.config.Node, Site: b.config.Site, Version: b.version, Started: b.started,
		Leader: q.Leader, Role: q.Role, Servers: q.Voters, AppliedIndex: v.Index(), NodesKnown: len(nodes),
	}
	if v.PodCIDR().IsValid() {
		s.PodCIDR = v.PodCIDR().String()
	}
	for _, n := range nodes {
		if n.State == api.NodeAlive {
			s.NodesAlive++
		} else {
			s.Problems = append(s.Problems, fmt.Sprintf("node %s is %s", n.Name, n.State))
		}
	}
	for _, p := range v.Pods() {
		s.PodsTotal++
		if p.Node == b.config.Node {
			s.PodsHere++
			if d := b.describe(p); d.Phase == api.PodFailed {
				s.Problems = append(s.Problems, fmt.Sprintf("pod %s failed: %s", p.Name, d.Reason))
			}
		}
	}
	if s.Leader == "" {
		s.Problems = append(s.Problems, "the mesh has no leader: pods run on, but nothing can be started, moved or removed until a majority of the servers is reached")
	}
	if q.Waiting != "" {
		s.Problems = append(s.Problems, q.Waiting)
	}
	for _, m := range v.Migrations() {
		if m.Phase.Open() {
			s.Migrations = append(s.Migrations, b.migration(m))
		}
	}
	return s, nil
}

// ListNodes implements [api.Mesh].
func (b *backend) ListNodes(context.Context) ([]api.Node, error) {
	v := b.quorum.View()
	alive := map[string]api.NodeState{}
	for _, m := range b.gossip.Members() {
		alive[m.Node] = api.NodeState(m.State)
	}
	count := map[string]int{}
	for _, p := range v.Pods() {
		count[p.Node]++
	}
	q := b.quorum.Status()
	var out []api.Node
	for _, n := range v.Nodes() {
		x := api.Node{
			Name: n.Name, Site: n.Site, Address: n.Addr.String(), Gossip: n.Gossip.String(), State: api.NodeUnknown,
			Role: role(q, n), Version: n.Version, Arch: n.Arch, Pods: count[n.Name],
			RTTms: api.Milliseconds(b.transport.RTT(n.Name)),
		}
		if s, ok := alive[n.Name]; ok {
			x.State = s
		}
		out = append(out, x)
	}
	return out, nil
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
