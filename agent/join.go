package agent

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
)

// tryAgainAfter is how long an agent waits before it tells the mesh again what it could not.
const tryAgainAfter = time.Second

// join makes this node a part of the mesh: it is registered, then what an earlier agent left is settled, and from
// then on routes follow the committed state. arriving says which pods are on their way to here.
func (a *agent) join(ctx context.Context, config migrate.Config, arriving func(uid string) bool) {
	var settling sync.WaitGroup
	defer settling.Wait()
	c := a.config
	commands := []state.Command{
		state.SetMesh{PodCIDR: c.PodCIDR},
		state.RegisterNode{Node: state.Node{
			Name: c.Node, Site: c.Site, Addr: c.Address, Gossip: c.Gossip, Arch: runtime.GOARCH, Version: a.version,
		}},
	}
	for _, command := range commands {
		if !a.insist(ctx, command) {
			return
		}
	}
	for a.quorum.Sync(ctx) != nil {
		if !wait(ctx, tryAgainAfter) {
			return
		}
	}
	if err := a.host.router.Set(ctx, desired(a.quorum.View())); err != nil {
		a.log.Error("setting routes", "err", err)
	}
	settling.Go(func() {
		if err := migrate.Recover(ctx, config, source{a.host}); err != nil && ctx.Err() == nil {
			a.log.Error("settling earlier moves", "err", err)
		}
		if err := a.pods.recover(ctx, arriving); err != nil && ctx.Err() == nil {
			a.log.Error("recovering pods", "err", err)
		}
		a.pods.keepRunning(ctx, arriving)
	})
	keepRoutes(ctx, a.quorum, a.host.router, a.log)
}

// insist proposes a command until it is committed. It returns false when ctx ends.
func (a *agent) insist(ctx context.Context, c state.Command) bool {
	for {
		r, err := a.quorum.Propose(ctx, c)
		switch {
		case err == nil && r.OK:
			return true
		case err == nil:
			a.log.Error("the mesh refuses this node", "command", c.Kind(), "reason", r.Reason)
		case ctx.Err() == nil:
			a.log.Warn("the mesh can't be told yet", "command", c.Kind(), "err", err)
		}
		if !wait(ctx, tryAgainAfter) {
			return false
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
