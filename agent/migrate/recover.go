package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/drover-mesh/drover/state"
)

// Recover settles the departures that an earlier agent of this node left unfinished, side by side: a pod whose move
// can be aborted goes on here, one that the target has is retired. It returns when all are settled, which may be
// never as long as a target is lost.
func Recover(life context.Context, c Config, s Source) error {
	journals, err := openJournals(c.Journals, AsSource)
	failures := make([]error, len(journals))
	var all sync.WaitGroup
	for i, j := range journals {
		all.Go(func() {
			phase, err := resolve(life, c, s, j)
			c.Log.Info("settled a move that an earlier agent had begun", "move", j.Plan.ID, "pod", j.Plan.Pod.Name, "phase", phase, "err", err)
			failures[i] = err
		})
	}
	all.Wait()
	return errors.Join(append(failures, err)...)
}

// Recover takes up the arrivals that an earlier agent of this node left unfinished. It returns when each is
// known, so that Held is right; they are settled in the background. The error names journals that can't be read:
// their moves stay as they are.
func (a *Arrivals) Recover() error {
	journals, err := openJournals(a.Journals, AsTarget)
	for _, j := range journals {
		x := newArrival(a.life, j)
		x.taken = true
		a.mu.Lock()
		a.open[j.Plan.ID] = x
		a.mu.Unlock()
		a.jobs.Go(func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			if err := a.takeUp(x); err != nil {
				a.Log.Error("settling a move that an earlier agent had begun", "move", x.plan.ID, "pod", x.plan.Pod.Name, "err", err)
			}
		})
	}
	return err
}

// takeUp settles an arrival by its record. Abort asks and answers at once: it wins if the mesh had not yet
// activated the move. x.mu is held.
func (a *Arrivals) takeUp(x *arrival) error {
	r, err := propose(a.work, a.Ledger, x.plan.abort("the agent of "+a.Node+" started again"))
	if err != nil {
		return err
	}
	silent := func(Milestone) {}
	switch over := phaseOf(r); {
	case over == state.Activated && x.journal.Begun("return"):
		return a.giveBack(x, errors.New("taking the pod over had failed"), silent)
	case over == state.Activated:
		return a.takeUpActivated(x, silent)
	case over == state.Done:
		return a.finish(x, silent)
	case over == state.FailedOver: // whether it ran here or not: the pod that stands here is nobody's any more
		return a.forget(x)
	case r.Pod != nil && r.Pod.UID == x.plan.Pod.UID && (r.Pod.Node == a.Node || r.Pod.Migration != ""):
		// It ended long ago, and what is here of the pod may be alive and of a later move.
		return a.forget(x)
	}
	a.discard(x)
	return nil
}

// phaseOf reads the phase of a move from the answer to its Abort, "" if the mesh has forgotten it. Then it is over,
// and was not aborted while its pod was where it began: such an Abort wins.
func phaseOf(r state.Result) state.MigrationPhase {
	switch {
	case r.OK:
		return state.Aborted
	case r.Migration == nil:
		return ""
	}
	return r.Migration.Phase
}

// takeUpActivated goes on with a pod that this node owns: it restores it again from the images, which are all
// here, unless it may have run already. x.mu is held.
func (a *Arrivals) takeUpActivated(x *arrival, tell func(Milestone)) error {
	ran, err := a.cancel(x)
	if err != nil {
		return err
	}
	if ran {
		return a.finish(x, tell)
	}
	if err := a.restore(x); err != nil {
		if x.journal.Begun("resume") {
			err = fmt.Errorf("it may have run at %s before the host went down, and what it did there is lost: %w", a.Node, err)
		}
		return a.giveBack(x, err, tell)
	}
	return a.resume(x, tell)
}
