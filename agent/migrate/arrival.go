package migrate

import (
	"context"
	"fmt"
	"sync"

	"github.com/drover-mesh/drover/state"
)

// Arrivals serves the moves that come to this node. It takes a checkpoint, which is code that will run as root,
// only from the node that the committed state names as the source of a move to this one.
type Arrivals struct {
	Config
	dest Destination

	mu   sync.Mutex
	open map[string]*arrival // by move
	life context.Context     //nolint:containedctx // what arrivals do goes on after the request that began it
	jobs sync.WaitGroup
}

// arrival is one move to this node.
type arrival struct {
	plan    Plan
	journal *Journal

	mu      sync.RWMutex // read: something is received; write: it is taken over or discarded
	taken   bool         // the take-over has begun: nothing more is received
	gone    bool         // discarded or finished
	restore Restore

	cargo cargo
}

// NewArrivals readies this node to take pods. Close must be called before life ends the node's ledger.
func NewArrivals(life context.Context, c Config, d Destination) *Arrivals {
	return &Arrivals{Config: c, dest: d, open: map[string]*arrival{}, life: life}
}

// Close waits for what is under way. life must have ended.
func (a *Arrivals) Close() { a.jobs.Wait() }

// Held says whether the pod's packets must be held here: it arrives, and does not run yet.
func (a *Arrivals) Held(podUID string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.open {
		if x.plan.Pod.UID == podUID {
			return true
		}
	}
	return false
}

// Preflight compares what the pod needs with what this node has. Nothing changes. peer is the node that asks.
func (a *Arrivals) Preflight(ctx context.Context, peer string, p Plan, f Facts) (Offer, error) {
	p, err := a.hear(ctx, p, func(v state.View) (Plan, bool, error) {
		pod, ok := v.Pod(p.Pod.Name)
		switch {
		case p.Target != a.Node:
			return p, false, fmt.Errorf("the move goes to %s, and this is %s", p.Target, a.Node)
		case !ok || pod.UID != p.Pod.UID || pod.Epoch < p.Pod.Epoch:
			return p, false, nil
		case p.Source != peer || pod.Node != peer || pod.Epoch != p.Pod.Epoch:
			return p, false, fmt.Errorf("the mesh knows pod %s at %s in epoch %d", pod.Name, pod.Node, pod.Epoch)
		}
		p.Pod = pod
		return p, true, nil
	})
	if err != nil {
		return Offer{}, err
	}
	return a.dest.Check(ctx, p, f)
}

// Prepare begins an arrival. peer is the node that asks.
func (a *Arrivals) Prepare(ctx context.Context, peer string, p Plan) error {
	p, err := a.authorise(ctx, peer, p)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.open[p.ID]; ok {
		return nil
	}
	for _, x := range a.open {
		if x.plan.Pod.UID == p.Pod.UID {
			return fmt.Errorf("what move %s left of pod %s is still being removed", x.plan.ID, p.Pod.Name)
		}
	}
	j, err := createJournal(a.Journals, AsTarget, p)
	if err != nil {
		return err
	}
	x := &arrival{plan: p, journal: j, cargo: newCargo()}
	a.open[p.ID] = x
	a.jobs.Go(func() { a.follow(x) })
	return a.dest.Prepare(ctx, p)
}

// authorise returns the plan of a move as the mesh has committed it. Of what the peer says only the id counts, and
// that the rest agrees: whose program runs here, at which address, is not for the peer to say.
func (a *Arrivals) authorise(ctx context.Context, peer string, p Plan) (Plan, error) {
	return a.hear(ctx, p, func(v state.View) (Plan, bool, error) {
		m, ok := v.Migration(p.ID)
		if !ok {
			return p, false, nil
		}
		pod, known := v.Pod(m.Pod)
		switch {
		case m.Phase != state.Reserved:
			return p, false, fmt.Errorf("move %s is %s", p.ID, m.Phase)
		case m.Source != peer || m.Source != p.Source || m.Target != a.Node || m.Target != p.Target ||
			m.Epoch != p.Epoch() || m.UID != p.Pod.UID || !known || pod.UID != m.UID:
			return p, false, fmt.Errorf("the mesh knows move %s otherwise: pod %s from %s to %s", p.ID, m.Pod, m.Source, m.Target)
		}
		return Plan{ID: m.ID, Pod: pod, Source: m.Source, Target: m.Target, Mode: p.Mode}, true, nil
	})
}

// hear waits until this node has heard of what a peer speaks of.
func (a *Arrivals) hear(ctx context.Context, p Plan, of func(state.View) (Plan, bool, error)) (Plan, error) {
	if p.Mode != StopCopy {
		return Plan{}, fmt.Errorf("the mode %q is not known to %s", p.Mode, a.Node)
	}
	ctx, cancel := context.WithTimeout(ctx, hearsay)
	defer cancel()
	changes := a.Ledger.Watch(ctx)
	for {
		if known, ok, err := of(a.Ledger.View()); ok || err != nil {
			return known, err
		}
		select {
		case <-ctx.Done():
			return Plan{}, fmt.Errorf("%s has not heard of move %s of pod %s: %w", a.Node, p.ID, p.Pod.Name, ctx.Err())
		case <-changes:
		}
	}
}

// find returns the arrival of a move, if peer is its source.
func (a *Arrivals) find(peer, id string) (*arrival, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, ok := a.open[id]
	if !ok || x.plan.Source != peer {
		return nil, fmt.Errorf("no move %s from %s arrives here", id, peer)
	}
	return x, nil
}

// follow ends the arrival when the mesh has aborted the move.
func (a *Arrivals) follow(x *arrival) {
	phase, err := awaitOutcome(a.life, a.Ledger, x.plan.ID)
	if err != nil || phase == state.Done {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.taken { // takeOver sees the refusal itself
		return
	}
	a.discard(x)
}

// discard removes all that has arrived. x.mu is held.
func (a *Arrivals) discard(x *arrival) {
	if x.gone {
		return
	}
	err := a.again(x, "removing what has arrived", func(ctx context.Context, p Plan) error {
		if x.restore != nil {
			if err := x.restore.Cancel(ctx); err != nil {
				return err
			}
		}
		return a.dest.Discard(ctx, p)
	})
	if err == nil {
		a.end(x)
	}
}

// end forgets an arrival of which nothing is left to do. x.mu is held.
func (a *Arrivals) end(x *arrival) {
	x.gone = true
	if err := x.journal.Remove(); err != nil {
		a.Log.Error("removing a journal", "move", x.plan.ID, "err", err)
	}
	a.mu.Lock()
	delete(a.open, x.plan.ID)
	a.mu.Unlock()
}
