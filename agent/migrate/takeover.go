package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
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
	x.driver.tell(event{ahead: decide.Restore}) // the pod stands still, and the last of it is on its way
	if err := x.cargo.wait(a.life, m); err != nil {
		return err // the source aborts
	}
	if !x.take(tell) {
		return fmt.Errorf("move %s was ended before", id)
	}
	x.driver.tell(event{in: decide.Arrived{}})
	select {
	case <-x.ended:
	case <-x.driver.over: // the agent ends
	}
	return nil
}

// take notes that all has arrived, and who wants to hear what comes of it.
func (x *arrival) take(tell func(Milestone)) bool {
	x.news.Lock()
	defer x.news.Unlock()
	if !x.takes || x.taken {
		return false
	}
	x.taken, x.tell = true, tell
	return true
}

// prepare waits until the arrival is prepared for.
func (x *arrival) prepare(ctx context.Context) error {
	answer := make(chan error, 1)
	x.news.Lock()
	x.asks = append(x.asks, answer)
	x.news.Unlock()
	x.driver.tell(event{in: decide.Begin{}})
	select {
	case err := <-answer:
		return err
	case <-x.driver.over:
		return fmt.Errorf("move %s was ended before", x.plan.ID)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handled implements hands: it says who may send, and answers who has asked for the move to be prepared for.
func (x *arrival) handled(in decide.Input) {
	x.news.Lock()
	defer x.news.Unlock()
	x.takes = x.target.Takes()
	var err error
	switch in := in.(type) {
	case decide.Failed:
		err = x.driver.failure(in.Why)
	case decide.RecordFailed:
		err = x.driver.failure(in.Why)
	default:
		if x.target.Ended() {
			err = fmt.Errorf("move %s was ended before", x.plan.ID)
		}
	}
	if !x.takes && err == nil { // not yet
		return
	}
	for _, answer := range x.asks {
		answer <- err
	}
	x.asks = nil
}

// run drives the arrival until nothing is left of it to do, or the agent ends.
func (x *arrival) run() {
	_, err := x.driver.run(x.life, x.work)
	x.cut()
	if err == nil {
		x.leave()
		close(x.ended)
	}
}

// decided implements hands.
func (x *arrival) decided(a decide.Action) {
	t, ok := a.(decide.Tell)
	if !ok {
		return
	}
	if t.Milestone == decide.GaveUp {
		x.Log.Error("taking a pod over", "move", x.plan.ID, "pod", x.plan.Pod.Name, "err", t.Why)
	}
	x.news.Lock()
	tell := x.tell
	x.news.Unlock()
	tell(Milestone{Name: string(t.Milestone), Error: t.Why})
}

// recorded implements hands.
func (x *arrival) recorded(ctx context.Context, s decide.Step) {
	if s == decide.Restore {
		x.reach(ctx, AsTarget, string(s))
	}
}

// proposing implements hands.
func (x *arrival) proposing(ctx context.Context, c state.Command) {
	switch c.(type) {
	case state.Activate:
		x.reach(ctx, AsTarget, string(decide.Activate))
	case state.Complete:
		x.reach(ctx, AsTarget, complete)
	}
}

// fired implements hands: a source is not silent as long as something is received.
func (x *arrival) fired(t decide.Timer) decide.Input {
	if t == decide.Silence {
		if !x.mu.TryLock() {
			return decide.Heard{}
		}
		x.mu.Unlock()
	}
	return decide.Fired{Timer: t}
}

// do implements hands. It waits for what is received; when nothing of it is needed any more, that is ended first.
func (x *arrival) do(ctx context.Context, s decide.Step) error {
	switch s {
	case decide.Discard, decide.Destroy, decide.Forget:
		x.cut()
		_ = x.cargo.broke(errors.New("the move was ended"))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch s {
	case decide.Prepare:
		x.reach(ctx, AsTarget, "reserve")
		return x.dest.Prepare(ctx, x.plan)
	case decide.Restore:
		return x.doRestore(ctx)
	case decide.Resume:
		x.reach(ctx, AsTarget, resume)
		return during("resuming", x.restore.Resume(ctx))
	case decide.Cancel:
		return x.dest.Cancel(ctx, x.plan)
	case decide.Release:
		x.reach(ctx, AsTarget, string(s))
		return x.dest.Release(ctx, x.plan)
	case decide.Discard:
		return x.dest.Discard(ctx, x.plan)
	case decide.Destroy:
		return x.dest.Destroy(ctx, x.plan)
	case decide.Forget:
		x.reach(ctx, AsTarget, "retire")
		return x.dest.Forget(ctx, x.plan)
	}
	return fmt.Errorf("a target does not %s", s)
}

// doRestore has CRIU restore the pod, up to its post-restore hook. x.mu is held.
func (x *arrival) doRestore(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, restoring)
	defer cancel()
	if x.restore, err = x.dest.Restore(ctx, x.plan); err != nil {
		return fmt.Errorf("starting the restore: %w", err)
	}
	if err := x.restore.Wait(ctx); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	x.reach(ctx, AsTarget, gate)
	return nil
}

func during(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
