package agent

import (
	"context"
	"log/slog"
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

// keepRoutes makes the data plane follow the committed state until ctx ends.
func keepRoutes(ctx context.Context, l ledger, r *route.Router, log *slog.Logger) {
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
