package agent

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/gossip"
	"github.com/drover-mesh/drover/configs"
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
	peers     *http.Client
	drains    drains
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
			switch d := b.describe(p); {
			case d.Phase == api.PodFailed:
				s.Problems = append(s.Problems, fmt.Sprintf("pod %s failed: %s", p.Name, d.Reason))
			case d.Phase == api.PodFrozen && d.Reason != "":
				s.Problems = append(s.Problems, fmt.Sprintf("pod %s is frozen: %s", p.Name, d.Reason))
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
