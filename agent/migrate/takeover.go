package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/state"
)

// restoring bounds a restore: one that hangs must not hold the pod for ever. A hundred gigabytes take two minutes.
const restoring = 10 * time.Minute

// TakeOver restores the pod from what has arrived and, once the mesh has agreed, lets it run. tell hears of each
// milestone; it must not block. It goes on when the request that began it ends.
func (a *Arrivals) TakeOver(peer, id string, m Manifest, tell func(Milestone)) error {
	x, err := a.find(peer, id)
	if err != nil {
		return err
	}
	if err := x.cargo.wait(a.life, m); err != nil {
		return err // the source aborts
	}
	a.jobs.Add(1)
	defer a.jobs.Done()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gone || x.taken || !x.prepared {
		return fmt.Errorf("move %s was ended before", id)
	}
	x.taken = true
	if err := a.takeOver(x, tell); err != nil {
		a.Log.Error("taking a pod over", "move", id, "pod", x.plan.Pod.Name, "err", err)
		tell(Milestone{Name: Failed, Error: err.Error()})
	}
	return nil
}

// verdict is what the mesh has decided about an arrival.
type verdict struct {
	result state.Result
	err    error // the agent ends
}

// takeOver runs CRIU and the mesh's agreement side by side: neither depends on the other, and the pod resumes
// when both are there. x.mu is held.
func (a *Arrivals) takeOver(x *arrival, tell func(Milestone)) error {
	if err := x.journal.Begin("restore"); err != nil {
		return err
	}
	a.reach(a.work, AsTarget, "restore")
	agreed := make(chan verdict, 1)
	a.jobs.Go(func() {
		a.reach(a.work, AsTarget, "activate")
		r, err := propose(a.work, a.Ledger, state.Activate{Migration: x.plan.ID, Node: a.Node, Epoch: x.plan.Epoch()})
		if err == nil && r.OK {
			tell(Milestone{Name: Activated})
		}
		agreed <- verdict{r, err}
	})
	restored := a.restore(x)
	if restored == nil {
		tell(Milestone{Name: Restored})
	}
	v := <-agreed
	switch {
	case v.err != nil: // the agent ends: the next one finds the journal
		return v.err
	case !v.result.OK:
		a.discard(x)
		return errors.Join(restored, fmt.Errorf("the move was ended before: %s", v.result.Reason))
	case restored != nil:
		return a.giveBack(x, restored, tell)
	}
	return a.resume(x, tell)
}

func (a *Arrivals) restore(x *arrival) error {
	ctx, cancel := context.WithTimeout(a.work, restoring)
	defer cancel()
	r, err := a.dest.Restore(ctx, x.plan)
	if err != nil {
		return fmt.Errorf("starting the restore: %w", err)
	}
	x.restore = r
	if err := r.Wait(ctx); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	a.reach(a.work, AsTarget, gate)
	return nil
}

// giveBack returns a pod that this node owns and never ran to the source, whose frozen copy is as good as it was:
// it is the newest state of the pod, since nothing has run anywhere since the freeze. It returns why, unless the
// pod turns out to have run: then it stays. x.mu is held.
func (a *Arrivals) giveBack(x *arrival, why error, tell func(Milestone)) error {
	if err := a.work.Err(); err != nil { // the failure may be that of an agent that ends: the next one tries again
		return errors.Join(why, err)
	}
	// Once a Return may be on its way nobody may resume the pod here, whichever agent lives: so it stands in the
	// journal first, however long that takes on a full disk.
	if err := a.again(x, "noting that the pod goes back", func(context.Context, Plan) error { return x.journal.Begin("return") }); err != nil {
		return errors.Join(why, err)
	}
	// Nothing that was restored may live when the source is allowed to run the pod.
	ran, err := a.cancel(x)
	if err != nil {
		return errors.Join(why, err)
	}
	if ran {
		a.Log.Warn("the pod runs, though taking it over seemed to fail", "move", x.plan.ID, "err", why)
		tell(Milestone{Name: Resumed})
		return a.finish(x, tell)
	}
	r, err := propose(a.work, a.Ledger, state.Return{Migration: x.plan.ID, Node: a.Node, Reason: why.Error()})
	if err != nil {
		return errors.Join(why, err)
	}
	if !r.OK && phaseOf(r) != state.FailedOver {
		return errors.Join(why, fmt.Errorf("giving the pod back: %s", r.Reason))
	}
	a.discard(x)
	return why
}

// cancel tries until it is known that nothing restored lives, or that the pod has run: while that is open, nobody
// may run it. x.mu is held.
func (a *Arrivals) cancel(x *arrival) (ran bool, err error) {
	err = a.again(x, "ending the restore", func(ctx context.Context, p Plan) error {
		err := a.dest.Cancel(ctx, p)
		ran = errors.Is(err, ErrRan)
		if ran {
			return nil
		}
		return err
	})
	return ran, err
}

// resume lets the pod run. x.mu is held.
func (a *Arrivals) resume(x *arrival, tell func(Milestone)) error {
	// For the record only: whether the pod has run is known from what Resume leaves.
	if err := x.journal.Begin("resume"); err != nil {
		a.Log.Warn("noting that a pod is resumed", "move", x.plan.ID, "err", err)
	}
	a.reach(a.work, AsTarget, resume)
	if err := x.restore.Resume(a.work); err != nil {
		return a.giveBack(x, fmt.Errorf("resuming: %w", err), tell)
	}
	tell(Milestone{Name: Resumed})
	return a.finish(x, tell)
}

// finish lets the held packets go to the pod, which runs, and tells the mesh. x.mu is held.
func (a *Arrivals) finish(x *arrival, tell func(Milestone)) error {
	a.reach(a.work, AsTarget, "release")
	if err := a.again(x, "releasing the pod's packets", a.dest.Release); err != nil {
		return err
	}
	tell(Milestone{Name: Released})
	a.reach(a.work, AsTarget, complete)
	r, err := propose(a.work, a.Ledger, state.Complete{Migration: x.plan.ID, Node: a.Node})
	if err != nil {
		return err
	}
	if !r.OK && r.Migration != nil {
		a.Log.Error("the pod runs here, and the mesh refused to record it", "move", x.plan.ID, "reason", r.Reason)
	}
	return a.forget(x)
}

// forget ends an arrival whose pod needs nothing of it any more. x.mu is held.
func (a *Arrivals) forget(x *arrival) error {
	a.reach(a.work, AsTarget, "retire")
	if err := a.again(x, "removing the images", a.dest.Forget); err != nil {
		return err
	}
	a.end(x)
	return nil
}

// again does to an arrival what can't be given up.
func (a *Arrivals) again(x *arrival, what string, do func(context.Context, Plan) error) error {
	return again(a.work, func() error { return do(a.work, x.plan) }, func(err error) {
		a.Log.Error(what, "move", x.plan.ID, "pod", x.plan.Pod.Name, "err", err)
	})
}
