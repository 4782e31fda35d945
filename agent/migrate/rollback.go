package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/state"
)

// How often an unknown outcome is asked for again.
const (
	askAgainAfter = 50 * time.Millisecond
	askAgainAtMax = 2 * time.Second
	// askAgainOpen is how long a node trusts that it would hear of a move's end: it may be forgotten before.
	askAgainOpen = time.Minute
	// grace is how much longer than the agent's life a move may take that has begun: enough to abort it and thaw
	// the pod, or to let it run at the target, so that it doesn't stay frozen while no agent runs.
	grace = 5 * time.Second
)

// outlive returns a context that ends a grace after life.
func outlive(life context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(life))
	stop := context.AfterFunc(life, func() {
		wait, done := context.WithTimeout(ctx, grace)
		defer done()
		<-wait.Done()
		cancel()
	})
	return ctx, func() { stop(); cancel() }
}

// propose commits c, however often it must be proposed: an unknown outcome is not a no. It returns an error only
// when ctx ends.
func propose(ctx context.Context, l Ledger, c state.Command) (state.Result, error) {
	for wait := askAgainAfter; ; wait = min(2*wait, askAgainAtMax) {
		r, err := l.Propose(ctx, c)
		if err == nil {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return state.Result{}, fmt.Errorf("%w (the last try: %w)", ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// settle brings a move that failed at step s to an end that both nodes agree on: it tries to abort it, and goes
// forward if it comes too late. It returns nil if the pod runs at the target after all.
func (d *Departure) settle(ctx context.Context, s step, cause error) error {
	if d.journal == nil { // nothing was reserved, so nothing has changed
		return cause
	}
	if d.dump != nil {
		if err := d.dump.Cancel(); err != nil {
			d.Log.Warn("ending CRIU's dump", "move", d.plan.ID, "err", err)
		}
	}
	failed := &Error{Pod: d.plan.Pod.Name, Step: s.name, Node: d.where(s), Cause: cause}
	phase, err := resolve(ctx, d.Config, d.source, d.journal)
	switch {
	case err != nil:
		failed.Settled = fmt.Sprintf("it is not settled yet what becomes of the pod: %v; the agent will go on when it starts", err)
		return failed
	case phase == state.Done:
		d.journal = nil
		return nil
	}
	d.journal = nil
	d.tell(Progress{Step: s.name, Node: d.plan.Source, Status: Undone, Note: "the pod goes on at " + d.plan.Source})
	failed.Settled = fmt.Sprintf("the pod goes on at %s as if nothing had been", d.plan.Source)
	if phase == state.FailedOver {
		failed.Settled = fmt.Sprintf("%s was lost after it had taken the pod over: the mesh has failed it over, see drover pod get %s", d.plan.Target, d.plan.Pod.Name)
	}
	return failed
}

// resolve ends a move at its source: by an Abort that wins, after which the pod is thawed, or by retiring the
// frozen copy when the target has it, or by reviving it if the target was lost then. It returns Aborted, Returned, FailedOver or Done. The journal is removed with the last
// of the work.
func resolve(ctx context.Context, c Config, s Source, j *Journal) (state.MigrationPhase, error) {
	phase, mine, err := outcome(ctx, c, j.Plan)
	if err != nil {
		return "", err
	}
	undo := s.Thaw
	switch {
	case !mine || phase != state.Done && !j.Begun("freeze"): // the pod was not touched, or is here by a later move
		removed(c, j)
		return phase, nil
	case phase == state.Done:
		undo = s.Retire
	case phase == state.FailedOver:
		undo = s.Revive
	}
	if err := again(ctx, func() error { return undo(ctx, j.Plan) }, func(err error) {
		c.Log.Error("ending a move at its source", "move", j.Plan.ID, "phase", phase, "err", err)
	}); err != nil {
		return "", err
	}
	removed(c, j)
	return phase, nil
}

// removed ends a journal of which nothing is left to do. Should that fail, the next agent finds it settled.
func removed(c Config, j *Journal) {
	if err := j.Remove(); err != nil {
		c.Log.Error("removing a journal", "move", j.Plan.ID, "err", err)
	}
}

// outcome ends a move at its source as far as the mesh is concerned, or waits until the target does: once that has
// activated it, only its word counts, that the pod runs, or that it gives it back. What stands here of the pod is
// this move's unless mine is false.
func outcome(ctx context.Context, c Config, p Plan) (phase state.MigrationPhase, mine bool, err error) {
	for {
		r, err := propose(ctx, c.Ledger, p.abort("ended by "+c.Node))
		if err != nil {
			return "", false, err
		}
		known := r.Pod != nil && r.Pod.UID == p.Pod.UID
		here := known && r.Pod.Node == c.Node
		later := known && r.Pod.Migration != "" && r.Pod.Migration != p.ID
		switch phase := phaseOf(r); {
		case phase == state.Done:
			return phase, !here && !later, nil
		case phase == "" && here: // forgotten, see phaseOf: no copy can have come to the frozen one but by its return
			return state.Returned, !later, nil
		case phase == "":
			return state.Done, !later, nil
		case !phase.Open():
			return phase, here && !later, nil
		}
		wait, cancel := context.WithTimeout(ctx, askAgainOpen)
		_, _ = awaitOutcome(wait, c.Ledger, p.ID)
		cancel()
	}
}

// awaitOutcome waits until the move is over in this node's view of the committed state.
func awaitOutcome(ctx context.Context, l Ledger, id string) (state.MigrationPhase, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := l.Watch(ctx)
	for {
		m, ok := l.View().Migration(id)
		if ok && m.Phase != state.Reserved && m.Phase != state.Activated {
			return m.Phase, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-changes:
		}
	}
}

// again repeats f until it succeeds: what must be undone or finished can't be given up.
func again(ctx context.Context, f func() error, failed func(error)) error {
	for wait := askAgainAfter; ; wait = min(2*wait, askAgainAtMax) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := f()
		if err == nil {
			return nil
		}
		failed(err)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}
