package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/route"
	"github.com/drover-mesh/drover/state"
)

// repairEvery is how often routes are compared with what they should be, even if nothing is known to have changed.
const repairEvery = 10 * time.Second

// desired is the data plane that the committed state asks for.
func desired(v state.View) route.Desired {
	var d route.Desired
	for _, n := range v.Nodes() {
		d.Peers = append(d.Peers, route.Peer{Node: n.Name, Underlay: n.Addr.Addr()})
	}
	for _, p := range v.Pods() {
		d.Pods = append(d.Pods, route.Pod{UID: p.UID, Addr: p.Addr, Node: p.Node})
	}
	return d
}

// router is the host's router for those who may come before its first Set: a restarted agent takes up its moves and
// pods as soon as it can ask the mesh, and only then learns the routes. They wait.
type router struct {
	*route.Router
	first sync.Once
	ready chan struct{} // closed by the first Set
}

func newRouter(r *route.Router) *router { return &router{Router: r, ready: make(chan struct{})} }

// Set is [route.Router.Set].
func (r *router) Set(ctx context.Context, d route.Desired) error {
	err := r.Router.Set(ctx, d)
	if err == nil {
		r.first.Do(func() { close(r.ready) })
	}
	return err
}

// PreparePod is [route.Router.PreparePod], once there are routes.
func (r *router) PreparePod(ctx context.Context, uid string, addr netip.Addr, hold bool) (string, error) {
	select {
	case <-r.ready:
		return r.Router.PreparePod(ctx, uid, addr, hold)
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for this node's first routes: %w", ctx.Err())
	}
}

// keepRoutes makes the data plane follow the committed state until ctx ends.
func keepRoutes(ctx context.Context, l ledger, r *router, log *slog.Logger) {
	changes := l.Watch(ctx)
	tick := time.NewTicker(repairEvery)
	defer tick.Stop()
	for {
		if err := r.Set(ctx, desired(l.View())); err != nil && ctx.Err() == nil {
			log.Error("setting routes", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-tick.C:
		}
	}
}
