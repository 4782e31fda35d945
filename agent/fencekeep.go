package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/drover-mesh/drover/agent/fence"
	"github.com/drover-mesh/drover/agent/route"
	"github.com/drover-mesh/drover/state"
)

const (
	// tendEvery is how often the fence is compared with what it should hold, if nothing is known to have changed.
	tendEvery = time.Second
	// startFor is how long the start of a fence may take while pods run without one.
	startFor = 2 * time.Second
)

// keep tells fence and mute of each renewal of the lease, lets pods go on that the fence has frozen and this node still owns,
// starts another fence when one ends, and ends it when there is nothing to fence, until ctx ends. The fence outlives it.
func (f *fenced) keep(ctx context.Context) {
	renewals, views := f.leases.WatchLease(ctx), f.leases.Watch(ctx)
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	said := ""
	for {
		err := f.tend(ctx)
		if now := fmt.Sprint(err); now != said && ctx.Err() == nil {
			if said = now; err != nil {
				f.log.Error("fencing pods", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			f.mu.Lock()
			f.letGo()
			f.mu.Unlock()
			return
		case <-renewals:
		case <-views:
		case <-f.gone():
			f.loseEnded()
		case <-tick.C:
		}
	}
}

// gone is closed when the fence ends; nil if there is none.
func (f *fenced) gone() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.guard == nil {
		return nil
	}
	return f.guard.Gone()
}

// loseEnded gives the fence up if it has ended; by now there may be another.
func (f *fenced) loseEnded() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.guard == nil {
		return
	}
	select {
	case <-f.guard.Gone():
		f.lose(errors.New("it has ended"))
	default:
	}
}

// tend makes the fence be as it should be now.
func (f *fenced) tend(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.leases.View()
	if f.looked && f.guard == nil && len(f.under)+len(f.expected) == 0 && !slices.Contains(v.LeaseHolders(), f.node) {
		return nil // most nodes, most of the time
	}
	live, err := f.pods.Live()
	if err != nil {
		return err
	}
	f.looked = true
	f.prune(ctx)
	if len(f.under)+len(live)+len(f.expected) == 0 {
		return f.rest(ctx)
	}
	end, ok := f.end(v)
	if err := f.ensure(ctx); err != nil {
		return errors.Join(err, f.freezeAlone(ctx))
	}
	if ok {
		if err := f.tell(ctx, end); err != nil {
			return err
		}
	}
	var errs []error
	for _, uid := range live {
		if !f.under[uid] && !f.leaving[uid] && (f.arriving == nil || !f.arriving(uid)) { // its fence was killed together with the agent
			errs = append(errs, f.adopt(ctx, uid))
		}
	}
	switch {
	case f.guard == nil: // it was lost meanwhile
	case ok:
		errs = append(errs, f.pass(end), f.thaw(ctx, v))
	default:
		_, err := f.heard(f.guard.Status(ctx))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// thaw lets pods go on that were frozen as a whole: there is a lease again, and this node's view, which has come to its index, says
// that nobody has taken them over. What a move has frozen stays so: that is in the cgroups below. f.mu is held.
func (f *fenced) thaw(ctx context.Context, v state.View) error {
	for _, s := range v.Pods() {
		if s.Node != f.node || !f.under[s.UID] || !frozenIn(f.last, s.UID) && !f.pods.Frozen(s.UID) || f.pods.Stale(s) {
			continue
		}
		if _, err := f.heard(f.guard.Thaw(ctx, s.UID)); err != nil {
			return fmt.Errorf("pod %s: %w", s.Name, err)
		}
		f.log.Info("a pod that was frozen without a lease goes on", "pod", s.Name, "epoch", s.Epoch)
	}
	return nil
}

// adopt puts a pod that runs here under the fence and the mute, whatever its state. Without a lease that freezes it; and so does a
// failure, here. f.mu is held.
func (f *fenced) adopt(ctx context.Context, uid string) error {
	if err := f.hold(ctx, uid); err != nil {
		return errors.Join(err, f.pods.Freeze(context.WithoutCancel(ctx), uid))
	}
	return f.mute.Add(uid, route.DeviceOf(uid))
}

// hold puts a pod under the fence. f.mu is held.
func (f *fenced) hold(ctx context.Context, uid string) error {
	dir, err := f.pods.Enclose(ctx, uid)
	if err != nil {
		return err
	}
	if f.guard == nil {
		return errors.New("there is no fence")
	}
	if _, err := f.heard(f.guard.Hold(ctx, uid, dir)); err != nil {
		return err
	}
	f.under[uid] = true
	return nil
}

// prune forgets pods of which nothing is here any more: an agent was killed while it removed them. f.mu is held.
func (f *fenced) prune(ctx context.Context) {
	for uid := range f.under {
		if f.pods.Known(uid) {
			continue
		}
		if f.guard != nil {
			if _, err := f.heard(f.guard.Drop(ctx, uid)); err != nil {
				return // another one is started
			}
		}
		delete(f.under, uid)
	}
}

// rest ends a fence that has nothing to hold. f.mu is held.
func (f *fenced) rest(ctx context.Context) error {
	if f.guard == nil {
		return nil
	}
	err := f.guard.End(ctx, false)
	f.letGo()
	f.last = fence.Status{}
	if err != nil {
		return err
	}
	return f.mute.Sweep()
}

// ensure makes sure that there is a fence, and that it holds what the last one did. f.mu is held.
func (f *fenced) ensure(ctx context.Context) error {
	if f.guard != nil {
		return nil
	}
	patience := startFor
	end, ok := f.end(f.leases.View())
	if ok {
		patience = min(patience, end.Left(f.clock()))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g, err := f.start(ctx)
	if err != nil {
		return err
	}
	f.guard = g
	if ok {
		if err := f.tell(ctx, end); err != nil {
			return err
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(f.under)) {
		if err := f.hold(ctx, uid); err != nil {
			delete(f.under, uid) // it is tried again if the pod runs
			if f.guard == nil {
				return err
			}
			f.log.Error("a pod can't be put under the new fence", "uid", uid, "err", err)
		}
	}
	return nil
}

// freezeAlone freezes the pods that a fence should hold, since there is none and none can be started. f.mu is held.
func (f *fenced) freezeAlone(ctx context.Context) error {
	live, err := f.pods.Live()
	errs := []error{err}
	for _, uid := range live {
		errs = append(errs, f.pods.Freeze(context.WithoutCancel(ctx), uid))
	}
	return errors.Join(errs...)
}

// resume takes over the fence that an earlier agent has left, and puts pods that run here under one. A fence of another version is
// replaced: it ends once the new one holds all that it did.
func (f *fenced) resume(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, err := f.find()
	errs := []error{err}
	var old []guard
	for _, g := range found {
		s, err := g.Status(ctx)
		if err != nil { // it is just ending, or must
			errs = append(errs, g.Kill(), g.Close())
			continue
		}
		for _, p := range s.Pods {
			if f.pods.Known(p.UID) {
				f.under[p.UID] = true
				continue
			}
			if s, err = g.Drop(ctx, p.UID); err != nil { // an agent was killed while it removed it
				errs = append(errs, err)
			}
		}
		if s.Version == f.version && f.guard == nil {
			f.guard, f.last, f.told = g, s, s.Lease
			continue
		}
		old = append(old, g)
	}
	if live, err := f.pods.Live(); err == nil && len(found)+len(live) == 0 { // of pods that are gone
		errs = append(errs, f.mute.Sweep())
	}
	return errors.Join(append(errs, f.replace(ctx, old))...)
}

// replace ends other fences once this agent's holds all that they did. f.mu is held.
func (f *fenced) replace(ctx context.Context, old []guard) error {
	if len(old) == 0 {
		return nil
	}
	if len(f.under) > 0 {
		before := f.guard
		if err := f.ensure(ctx); err != nil {
			return fmt.Errorf("replacing the fence of another version: %w", err)
		}
		if before != nil { // there were two, and it may lack some
			for uid := range f.under {
				if err := f.hold(ctx, uid); err != nil {
					return fmt.Errorf("replacing the fence of another version: %w", err)
				}
			}
		}
	}
	var errs []error
	for _, g := range old {
		errs = append(errs, g.End(ctx, true), g.Close())
	}
	return errors.Join(errs...)
}
