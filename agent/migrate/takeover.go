package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/drover-mesh/drover/state"
)

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
	if x.gone || x.taken {
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
	agreed := make(chan verdict, 1)
	a.jobs.Go(func() {
		r, err := propose(a.life, a.Ledger, state.Activate{Migration: x.plan.ID, Node: a.Node, Epoch: x.plan.Epoch()})
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
		return errors.Join(restored, a.giveBack(x))
	}
	return a.resume(x, tell)
}

func (a *Arrivals) restore(x *arrival) error {
	r, err := a.dest.Restore(a.life, x.plan)
	if err != nil {
		return fmt.Errorf("starting the restore: %w", err)
	}
	x.restore = r
	if err := r.Wait(a.life); err != nil {
		return err
	}
	return nil
}

// giveBack returns a pod that this node owns and never ran to the source, whose frozen copy is as good as it was:
// it is the newest state of the pod, since nothing has run anywhere since the freeze. x.mu is held.
func (a *Arrivals) giveBack(x *arrival) error {
	if err := x.journal.Begin("return"); err != nil {
		return err
	}
	// Nothing that was restored may live when the source is allowed to run the pod.
	if x.restore != nil {
		if err := a.again(x, "ending the restore", func(ctx context.Context, _ Plan) error { return x.restore.Cancel(ctx) }); err != nil {
			return err
		}
	}
	r, err := propose(a.life, a.Ledger, state.Return{Migration: x.plan.ID, Node: a.Node, Reason: "the restore failed"})
	if err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("giving the pod back: %s", r.Reason)
	}
	a.discard(x)
	return nil
}

// resume lets the pod run. x.mu is held.
func (a *Arrivals) resume(x *arrival, tell func(Milestone)) error {
	if err := x.journal.Begin("resume"); err != nil {
		return err
	}
	if err := x.restore.Resume(a.life); err != nil {
		ran, unknown := a.ran(x)
		if unknown != nil {
			return errors.Join(err, unknown)
		}
		if !ran {
			return errors.Join(fmt.Errorf("resuming: %w", err), a.giveBack(x))
		}
		a.Log.Warn("the pod runs, though resuming it seemed to fail", "move", x.plan.ID, "err", err)
	}
	tell(Milestone{Name: Resumed})
	return a.finish(x, tell)
}

// ran asks until it is known whether the pod runs here or has run: while that is open, nobody may run it.
func (a *Arrivals) ran(x *arrival) (ran bool, err error) {
	err = a.again(x, "asking whether the pod runs", func(ctx context.Context, p Plan) error {
		ran, err = a.dest.Ran(ctx, p)
		return err
	})
	return ran, err
}

// finish lets the held packets go to the pod, which runs, and tells the mesh. x.mu is held.
func (a *Arrivals) finish(x *arrival, tell func(Milestone)) error {
	if err := a.again(x, "releasing the pod's packets", a.dest.Release); err != nil {
		return err
	}
	tell(Milestone{Name: Released})
	r, err := propose(a.life, a.Ledger, state.Complete{Migration: x.plan.ID, Node: a.Node})
	if err != nil {
		return err
	}
	if !r.OK {
		a.Log.Error("the pod runs here, and the mesh refused to record it", "move", x.plan.ID, "reason", r.Reason)
	}
	if err := a.again(x, "removing the images", a.dest.Forget); err != nil {
		return err
	}
	a.end(x)
	return nil
}

// again does to an arrival what can't be given up.
func (a *Arrivals) again(x *arrival, what string, do func(context.Context, Plan) error) error {
	return again(a.life, func() error { return do(a.life, x.plan) }, func(err error) {
		a.Log.Error(what, "move", x.plan.ID, "pod", x.plan.Pod.Name, "err", err)
	})
}
