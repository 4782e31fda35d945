package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// Arrivals serves the moves that come to this node. It takes a checkpoint, which is code that will run as root,
// only from the node that the committed state names as the source of a move to this one.
type Arrivals struct {
	Config
	dest Destination

	mu   sync.Mutex
	open map[string]*arrival // by move
	// What arrivals do goes on after the request that began it. What has begun gets a moment longer than life.
	life, work context.Context //nolint:containedctx // see above
	stop       context.CancelFunc
	jobs       sync.WaitGroup
}

// arrival is one move to this node. What is done with it when, its decide.Target decides.
type arrival struct {
	Config
	dest   Destination
	plan   Plan
	life   context.Context //nolint:containedctx // the agent's; work lasts a moment longer
	work   context.Context //nolint:containedctx // see above
	driver *driver
	target *decide.Target
	leave  func() // nothing is left of it to do

	mu      lock // shared: something is received; alone: a step is done
	restore Restore
	cargo   cargo
	over    context.Context //nolint:containedctx // ends when nothing needs to be received any more
	cut     context.CancelFunc
	ended   chan struct{} // closed when nothing is left of it to do

	news  sync.Mutex
	takes bool            // what the source sends is taken
	taken bool            // it has asked for the take-over
	asks  []chan error    // that wait to hear whether it is prepared for
	tell  func(Milestone) // to the source; nil if it doesn't listen
}

func (a *Arrivals) newArrival(p Plan, t *decide.Target) *arrival {
	x := &arrival{
		Config: a.Config, dest: a.dest, plan: p, life: a.life, work: a.work, target: t,
		mu: newLock(), cargo: newCargo(), ended: make(chan struct{}), tell: func(Milestone) {},
	}
	x.over, x.cut = context.WithCancel(a.life)
	x.driver = newDriver(a.Config, p, AsTarget, t, x)
	x.leave = func() {
		a.mu.Lock()
		delete(a.open, p.ID)
		a.mu.Unlock()
	}
	return x
}

// NewArrivals readies this node to take pods. Close must be called before the node's ledger ends.
func NewArrivals(life context.Context, c Config, d Destination) *Arrivals {
	a := &Arrivals{Config: c, dest: d, open: map[string]*arrival{}, life: life}
	a.work, a.stop = outlive(life)
	return a
}

// Close waits for what is under way. life must have ended.
func (a *Arrivals) Close() {
	a.jobs.Wait()
	a.stop()
}

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
	a.reach(ctx, AsTarget, "preflight")
	return a.dest.Check(ctx, p, f)
}

// Prepare begins an arrival. peer is the node that asks.
func (a *Arrivals) Prepare(ctx context.Context, peer string, p Plan) error {
	p, err := a.authorise(ctx, peer, p)
	if err != nil {
		return err
	}
	x, err := a.begin(ctx, p)
	if err != nil {
		return err
	}
	return x.prepare(ctx)
}

// begin finds or makes the arrival of a move, when nothing is left of an earlier one of the same pod.
func (a *Arrivals) begin(ctx context.Context, p Plan) (*arrival, error) {
	patience := time.NewTimer(hearsay)
	defer patience.Stop()
	for {
		x, earlier := a.tryBegin(p)
		if earlier == nil {
			return x, nil
		}
		err := fmt.Errorf("what move %s left of pod %s is still being removed", earlier.plan.ID, p.Pod.Name)
		select {
		case <-earlier.ended:
		case <-patience.C:
			return nil, err
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

func (a *Arrivals) tryBegin(p Plan) (x, earlier *arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if x, ok := a.open[p.ID]; ok {
		return x, nil
	}
	for _, x := range a.open {
		if x.plan.Pod.UID == p.Pod.UID {
			return nil, x
		}
	}
	x = a.newArrival(p, decide.NewTarget(p.move()))
	a.open[p.ID] = x
	a.jobs.Go(x.run)
	return x, nil
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
