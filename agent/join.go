package agent

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
)

// tryAgainAfter is how long an agent waits before it tells the mesh again what it could not.
const tryAgainAfter = time.Second

// tellOfTrouble is how long an agent tries to reach the mesh before it says why it could not, and goes on trying.
const tellOfTrouble = 5 * time.Second

// join makes this node a part of the mesh: it is registered, then what an earlier agent left is settled, and from
// then on routes follow the committed state. arriving says which pods are on their way to here.
func (a *agent) join(ctx context.Context, config migrate.Config, arriving func(uid string) bool) {
	var settling sync.WaitGroup
	defer settling.Wait()
	self := a.self(ctx)
	self.Enrols = a.transport.Identity().Authority != nil
	for _, command := range introduction(a.config.PodCIDR, self) {
		if !a.insist(ctx, command) {
			return
		}
	}
	if err := markFounded(a.config); err != nil {
		a.log.Warn("a loss of this node's log could go unnoticed", "err", err)
	}
	for a.quorum.Sync(ctx) != nil {
		if !wait(ctx, tryAgainAfter) {
			return
		}
	}
	a.catchUp.reached()
	if err := a.host.router.Set(ctx, desired(a.quorum.View())); err != nil {
		a.log.Error("setting routes", "err", err)
	}
	settling.Go(func() {
		if err := migrate.Recover(ctx, config, claiming{source{a.host}, a.pods}); err != nil && ctx.Err() == nil {
			a.log.Error("settling earlier moves", "err", err)
		}
	})
	// Not after that: a move whose target is lost stays open, and the other pods must not wait for it.
	settling.Go(func() { a.pods.keepRecovering(ctx, arriving) })
	settling.Go(func() { a.pods.keepStartingOver(ctx, arriving) })
	settling.Go(func() { a.pods.keepRunning(ctx, arriving) })
	settling.Go(func() { newLeftovers(a.pods).keep(ctx, arriving) })
	settling.Go(func() { a.pods.probes.keep(ctx) })
	keepRoutes(ctx, a.quorum, a.host.router, a.log)
}

// introduction is what a node tells the mesh first: how it understands it, and itself.
func introduction(podCIDR netip.Prefix, self state.Node) []state.Command {
	return []state.Command{
		state.SetMesh{PodCIDR: podCIDR, ID: newID()},
		state.RegisterNode{Node: self},
	}
}

// claiming is a source for the moves of an earlier agent: nobody may do anything else to a pod while it is thawed or
// retired. A move of this agent has claimed its pod already.
type claiming struct {
	source
	pods *pods
}

// Thaw implements [migrate.Source].
func (c claiming) Thaw(ctx context.Context, p migrate.Plan) error {
	return c.claim(ctx, p, c.source.Thaw)
}

// Revive implements [migrate.Source].
func (c claiming) Revive(ctx context.Context, p migrate.Plan) error {
	return c.claim(ctx, p, c.source.Revive)
}

// Retire implements [migrate.Source].
func (c claiming) Retire(ctx context.Context, p migrate.Plan) error {
	return c.claim(ctx, p, c.source.Retire)
}

func (c claiming) claim(ctx context.Context, p migrate.Plan, do func(context.Context, migrate.Plan) error) error {
	if !c.pods.take(p.Pod.UID) {
		return fmt.Errorf("pod %s is being started, moved or removed", p.Pod.Name)
	}
	defer c.pods.give(p.Pod.UID)
	return do(ctx, p)
}

// insist proposes a command until it is committed. It returns false when ctx ends.
func (a *agent) insist(ctx context.Context, c state.Command) bool {
	for {
		attempt, cancel := context.WithTimeout(ctx, tellOfTrouble)
		r, err := a.quorum.Propose(attempt, c)
		cancel()
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
