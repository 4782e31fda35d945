package quorum

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/drover-mesh/drover/state"
)

// A tenancy is what this node has of a lease.
type tenancy struct {
	bell bell // rings when the rest may have changed

	mu      sync.Mutex
	lease   state.Lease
	problem error // of the last attempt to renew it
}

// Lease returns the lease that this node was granted last. Whether it counts, its Valid says: with the clocks that Config.Clock
// reads, and the Index of the View. It is the zero Lease if there was none.
func (q *Quorum) Lease() state.Lease {
	q.tenancy.mu.Lock()
	defer q.tenancy.mu.Unlock()
	return q.tenancy.lease
}

// LeaseProblem says why the lease could not be renewed at the last attempt, nil if it was.
func (q *Quorum) LeaseProblem() error {
	q.tenancy.mu.Lock()
	defer q.tenancy.mu.Unlock()
	return q.tenancy.problem
}

// WatchLease returns a channel as [Quorum.Watch] does. It says that Lease may have changed: with each renewal. That a lease ends
// nobody says, nor that the View has come to its index, which Watch tells.
func (q *Quorum) WatchLease(ctx context.Context) <-chan struct{} { return q.tenancy.bell.watch(ctx) }

// rent renews the lease as long as the committed state has this node among those that need one, until the quorum is closed.
func (q *Quorum) rent() {
	changed := q.Watch(q.ctx)
	for {
		wait := time.Duration(-1)
		if q.needsLease() {
			wait = q.renew()
		}
		if !q.idle(changed, wait) {
			return
		}
	}
}

// needsLease says whether this node has to hold a lease, as far as it knows.
func (q *Quorum) needsLease() bool { return slices.Contains(q.View().LeaseHolders(), q.cfg.Node) }

// idle waits until the next attempt, or without one, if wait is negative, until this node has to hold a lease. It returns false
// when the quorum is closed.
func (q *Quorum) idle(changed <-chan struct{}, wait time.Duration) bool {
	var due <-chan time.Time
	if wait >= 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	for {
		select {
		case <-due:
			return true
		case <-changed:
			if due == nil && q.needsLease() {
				return true
			}
		case <-q.ctx.Done():
			return false
		}
	}
}

// renew asks the leader once, and returns when to ask it again. The lease is counted from before the request was sent,
// whichever way it went and however long that took.
func (q *Quorum) renew() (wait time.Duration) {
	usual := cmp.Or(q.Lease().Duration, q.cfg.lease())
	started := time.Now()
	boot, wall := q.cfg.Clock()
	a, err := q.attempt(q.ctx, request{Renew: &renewal{q.cfg.Node, positionOf(q.View())}}, state.RenewEvery(usual))
	if err == nil && (a.Grant == nil || state.CheckLease(a.Grant.Duration) != nil) {
		err = fmt.Errorf("the leader's answer is no lease: %+v", a.Grant)
	}
	if err != nil {
		q.hold(nil, err)
		return state.RenewEvery(usual) / 16
	}
	q.hold(&state.Lease{Term: a.Grant.Term, Index: a.Grant.Index, Duration: a.Grant.Duration, Boot: boot, Wall: wall}, nil)
	return max(0, state.RenewEvery(a.Grant.Duration)-time.Since(started))
}

// hold notes what an attempt to renew the lease came to, and tells, once each time, that it can't be renewed, and can again.
func (q *Quorum) hold(l *state.Lease, problem error) {
	t := &q.tenancy
	t.mu.Lock()
	before := t.problem
	if t.problem = problem; l != nil {
		t.lease = *l
	}
	t.mu.Unlock()
	t.bell.ring()
	switch {
	case q.ctx.Err() != nil:
	case problem != nil && before == nil:
		q.log.Warn("the lease of this node was not renewed", "error", problem)
	case problem == nil && before != nil:
		q.log.Info("the lease of this node is renewed again")
	}
}

// dropLease forgets the lease: it was of a history that isn't the mesh's any more.
func (q *Quorum) dropLease() {
	q.hold(&state.Lease{}, errors.New("the mesh was recovered without what this node had heard of it"))
}
