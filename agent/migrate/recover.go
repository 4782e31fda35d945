package migrate

import (
	"context"
	"errors"

	"github.com/drover-mesh/drover/state"
)

// Recover settles the departures that an earlier agent of this node left unfinished: a pod whose move can be
// aborted goes on here, one that the target has is retired. It returns when all are settled.
func Recover(life context.Context, c Config, s Source) error {
	journals, err := openJournals(c.Journals, AsSource)
	for _, j := range journals {
		phase, failed := resolve(life, c, s, j)
		c.Log.Info("settled a move that an earlier agent had begun", "move", j.Plan.ID, "pod", j.Plan.Pod.Name, "phase", phase, "err", failed)
		err = errors.Join(err, failed)
	}
	return err
}

// Recover takes up the arrivals that an earlier agent of this node left unfinished. It returns when each is
// known, so that Held is right; they are settled in the background.
func (a *Arrivals) Recover() error {
	journals, err := openJournals(a.Journals, AsTarget)
	for _, j := range journals {
		x := &arrival{plan: j.Plan, journal: j, cargo: newCargo(), taken: true}
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
	r, err := propose(a.life, a.Ledger, x.plan.abort("the agent of "+a.Node+" started again"))
	if err != nil {
		return err
	}
	if r.OK {
		a.discard(x)
		return nil
	}
	m := r.Migration
	switch {
	case m == nil || m.Phase == state.Returned || m.Phase == state.Aborted:
		a.discard(x)
		return nil
	case m.Phase == state.Done:
		return a.finish(x, func(Milestone) {})
	case x.journal.Begun("return"):
		return a.giveBack(x)
	}
	return a.takeUpActivated(x)
}

// takeUpActivated goes on with a pod that this node owns: it restores it again from the images, which are all
// here, unless it may have run already. x.mu is held.
func (a *Arrivals) takeUpActivated(x *arrival) error {
	silent := func(Milestone) {}
	if x.journal.Begun("resume") {
		ran, err := a.ran(x)
		if err != nil {
			return err
		}
		if ran {
			return a.finish(x, silent)
		}
		// CRIU still waits for a verdict that never came, or has ended: the restore below begins by ending it.
	}
	if err := a.restore(x); err != nil {
		return errors.Join(err, a.giveBack(x))
	}
	return a.resume(x, silent)
}
