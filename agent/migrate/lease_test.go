package migrate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// epoch is when the clocks of the tests began.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// newLeasedWorld is one whose pod others may take over.
func newLeasedWorld(t *testing.T) *world {
	w := emptyWorld(t)
	w.failover = state.FailoverRestart
	w.begin()
	require.True(t, w.machine.Apply(state.Reign{Server: "ams", Term: 1}).OK)
	return w
}

// Lease implements Leases: those of a host last a minute, and are granted again and again as long as it is not cut off.
func (a *agent) Lease() state.Lease {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	return a.host.lease
}

func (a *agent) Clock() (time.Duration, time.Time) {
	now := time.Now()
	return now.Sub(epoch), now
}

func (a *agent) WatchLease(ctx context.Context) <-chan struct{} { return a.Watch(ctx) }

// grant gives a host a lease for that long.
func (w *world) grant(name string, last time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	boot, wall := w.hosts[name].agent.Clock()
	w.hosts[name].lease = state.Lease{Term: 1, Index: w.machine.View().Index(), Duration: last, Boot: boot, Wall: wall}
	w.ring()
}

// giveUp fails over what a node has.
func (w *world) giveUp(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	commands, _ := state.Failovers(w.machine.View(), state.Loss{Nodes: []string{name}, Term: 1, At: time.Now()})
	require.Len(w.t, commands, 1)
	require.True(w.t, w.machine.Apply(commands[0]).OK)
	w.ring()
}

func (w *world) called(point string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c == point {
			return true
		}
	}
	return false
}

func TestLeasedPodMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLeasedWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		w.grant("ams", time.Hour)
		w.grant("fra", time.Hour)
		require.NoError(t, w.move(context.Background(), func(Progress) {}))
		synctest.Wait()
		w.settled(t, "leases at both ends")
	})
}

// TestTargetWithoutALeaseGetsNoPod gives the move up, rather than let the pod be owned by who can't run it.
func TestTargetWithoutALeaseGetsNoPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLeasedWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		w.grant("ams", time.Hour)
		require.ErrorContains(t, w.move(context.Background(), func(Progress) {}), "has not activated the move")
		synctest.Wait()
		require.False(t, w.called("fra resume"))
		w.settled(t, "no lease at the target")
		require.Equal(t, "ams", w.plan().Pod.Node)
	})
}

// TestLeaseThatEndsBeforeTheResume lets the pod run only when there is another lease, and the mesh has been asked again.
func TestLeaseThatEndsBeforeTheResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLeasedWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		w.grant("ams", time.Hour)
		w.grant("fra", 20*time.Second)
		w.suffer(func(_ *world, point string, m moment) error {
			if point == "fra wait restore" && m == after {
				w.mu.Unlock()
				time.Sleep(time.Minute) // virtual
				w.mu.Lock()
			}
			return nil
		})
		done := make(chan error, 1)
		go func() { done <- w.move(context.Background(), func(Progress) {}) }()
		time.Sleep(5 * time.Minute) // virtual
		require.False(t, w.called("fra resume"))
		w.grant("fra", time.Hour)
		require.NoError(t, <-done)
		synctest.Wait()
		w.settled(t, "a lease that ended")
	})
}

// TestSourceThawsUnderALeaseOnly aborts a move while the source has none.
func TestSourceThawsUnderALeaseOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLeasedWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		w.grant("fra", time.Hour)
		w.suffer(func(_ *world, point string, m moment) error {
			if point == "ams call image" && m == before {
				return errFault
			}
			return nil
		})
		done := make(chan error, 1)
		go func() { done <- w.move(context.Background(), func(Progress) {}) }()
		time.Sleep(5 * time.Minute) // virtual
		require.False(t, w.called("ams thaw"))
		w.grant("ams", time.Hour)
		require.Error(t, <-done)
		synctest.Wait()
		w.settled(t, "no lease at the source")
	})
}

// TestLostTargetIsFailedOver loses the target's agent when the pod runs there, as far as the mesh can tell. The source
// goes on from its frozen copy, and what is at the target is destroyed when it is back.
func TestLostTargetIsFailedOver(t *testing.T) {
	for _, point := range []string{"fra wait restore", "fra resume", "fra release", "fra propose state.Complete"} {
		for _, when := range []moment{before, after} {
			t.Run(point+"/"+string(when), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { loseTarget(t, point, when) })
			})
		}
	}
}

func loseTarget(t *testing.T, point string, when moment) {
	w := newLeasedWorld(t)
	w.start("ams")
	w.start("fra")
	defer w.drain()
	w.grant("ams", time.Hour)
	w.grant("fra", time.Hour)
	activated := make(chan struct{})
	w.suffer(func(w *world, p string, m moment) error {
		if p == "fra propose state.Activate" && m == after {
			close(activated)
		}
		if p == point && m == when {
			w.mu.Unlock()
			<-activated
			w.mu.Lock()
			w.hosts["fra"].agent.kill()
			return errFault
		}
		return nil
	})
	done := make(chan error, 1)
	go func() { done <- w.move(context.Background(), func(Progress) {}) }()
	time.Sleep(10 * time.Second) // virtual
	if point == "fra propose state.Complete" && when == after {
		require.NoError(t, <-done, "it came too late to take the pod back")
		w.suffer(func(*world, string, moment) error { return nil })
		w.revive(t)
		synctest.Wait()
		w.settled(t, point)
		return
	}
	w.fence("fra")
	w.giveUp("fra")
	require.ErrorContains(t, <-done, "from its state at the freeze")
	require.True(t, w.called("ams revive"))
	w.suffer(func(*world, string, moment) error { return nil })
	w.revive(t)
	time.Sleep(time.Minute) // virtual
	w.settled(t, point)
	require.Equal(t, "ams", w.plan().Pod.Node)
}

// fence freezes what runs on a host, as its fence does when the lease ends.
func (w *world) fence(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[name].lease = state.Lease{}
	if h := w.hosts[name]; h.running {
		h.frozen = true
	}
}
