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
)

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
func (d *Departure) settle(life context.Context, s step, cause error) error {
	if d.journal == nil { // nothing was reserved, so nothing has changed
		return cause
	}
	if d.dump != nil {
		if err := d.dump.Cancel(); err != nil {
			d.Log.Warn("ending CRIU's dump", "move", d.plan.ID, "err", err)
		}
	}
	failed := &Error{Pod: d.plan.Pod.Name, Step: s.name, Node: d.where(s), Cause: cause}
	phase, err := resolve(life, d.Config, d.source, d.journal)
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
	return failed
}

// resolve ends a move at its source: by an Abort that wins, after which the pod is thawed, or by retiring the
// frozen copy when the target has it. It returns Aborted, Returned or Done. The journal is removed with the last
// of the work.
func resolve(life context.Context, c Config, s Source, j *Journal) (state.MigrationPhase, error) {
	r, err := propose(life, c.Ledger, j.Plan.abort("ended by "+c.Node))
	if err != nil {
		return "", err
	}
	phase := state.Aborted
	if !r.OK {
		// The target was first. From here on only its word counts: that the pod runs, or that it gives it back.
		if phase, err = awaitOutcome(life, c.Ledger, j.Plan.ID); err != nil {
			return "", err
		}
	}
	undo := s.Thaw
	switch {
	case phase == state.Done:
		undo = s.Retire
	case !j.Begun("freeze"): // the pod was not touched; another move of it may be under way
		return phase, j.Remove()
	}
	if err := again(life, func() error { return undo(life, j.Plan) }, func(err error) {
		c.Log.Error("ending a move at its source", "move", j.Plan.ID, "phase", phase, "err", err)
	}); err != nil {
		return "", err
	}
	return phase, j.Remove()
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
