package quorum

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

const lease = state.DefaultLease

// sleep lets virtual time pass.
func sleep(d time.Duration) { <-time.After(d) }

func TestOnlyThoseWhoNeedALeaseHoldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		for node, q := range m.nodes {
			require.Equal(t, node == "syd", q.Lease() != state.Lease{}, node)
		}
		first := m.nodes["syd"].Lease()
		require.Equal(t, m.nodes[leader].View().Reign().Term, first.Term)
		require.Equal(t, lease, first.Duration)
		sleep(lease / 2)
		require.Greater(t, m.nodes["syd"].Lease().Boot, first.Boot)

		// The pod moves: the target has a lease before it may own the pod.
		require.True(t, m.propose("syd", state.Reserve{Migration: "m-1", Pod: "pay", Source: "syd", Target: "tok"}).OK)
		require.Eventually(t, func() bool { return m.nodes["tok"].Lease() != state.Lease{} }, time.Second, time.Millisecond)
		require.False(t, m.runs("tok", m.nodes["tok"], "u-pay"))
		require.True(t, m.propose("tok", state.Activate{Migration: "m-1", Node: "tok", Epoch: 2}).OK)
		require.True(t, m.runs("tok", m.nodes["tok"], "u-pay"))
		require.True(t, m.propose("tok", state.Complete{Migration: "m-1", Node: "tok"}).OK)
		sleep(2 * lease)
		was := m.nodes["syd"].Lease()
		sleep(lease)
		require.Equal(t, was, m.nodes["syd"].Lease(), "it has nothing any more that needs one")
	})
}

// Leases cost nothing where nobody needs one, and else little, whatever else goes on.
func TestWhatLeasesCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2*time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		m.join("syd", false)
		m.join("tok", false)
		minute := func() (calls map[string]int) {
			m.net.mu.Lock()
			clear(m.net.calls)
			m.net.mu.Unlock()
			sleep(time.Minute)
			m.net.mu.Lock()
			defer m.net.mu.Unlock()
			return maps.Clone(m.net.calls)
		}
		require.Empty(t, minute(), "no pod needs a lease")
		m.protect("pay", "u-pay", "syd", leader)
		m.leased("syd", "u-pay")
		calls := minute()
		t.Logf("calls a minute: %v", calls)
		renewals := int(time.Minute / state.RenewEvery(lease))
		require.InDelta(t, renewals, calls["syd"], 1)
		require.InDelta(t, renewals*(len(servers)-1), calls[leader], 2)
		require.Len(t, calls, 2)
	})
}

func TestALeaderReignsBeforeItGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		before := m.nodes["syd"].View().Reign()
		require.Equal(t, leader, before.Server)
		m.kill(leader)
		m.leader(others(leader)...)
		require.Eventually(t, func() bool { return m.nodes["syd"].Lease().Term > before.Term }, 10*time.Second, time.Millisecond)
		now := m.nodes["syd"].View().Reign()
		require.Equal(t, m.nodes["syd"].Lease().Term, now.Term)
		require.NotEqual(t, leader, now.Server)
	})
}

// The leader's host is lost, at any time between two renewals: the next one grants leases before those of the first have ended, as
// a rule, over round trips of 100 ms and with the time-outs that agents have.
func TestLeasesOutliveAChangeOfLeader(t *testing.T) {
	for _, after := range []time.Duration{0, lease / 9, 2 * lease / 9, lease/3 - 200*time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			m := newMesh(t, 50*time.Millisecond, wan(), servers...)
			leader := m.populate()
			sleep(after)
			before, lost := m.nodes["syd"].Lease(), time.Now()
			m.net.isolate(leader, m.names(), true)
			require.Eventually(t, func() bool { return m.nodes["syd"].Lease().Term > before.Term }, time.Minute, time.Millisecond)
			t.Logf("%s after the leader was lost, there is a lease of the next one", time.Since(lost))
			require.Less(t, time.Since(lost), state.TakeOverAfter(lease))
			m.net.isolate(leader, m.names(), false)
		})
	}
}

// A node that doesn't reach the leader, but another server, keeps its lease.
func TestARenewalTravelsByWayOfAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		m.failOver()
		m.net.set("syd", leader, true)
		for range 100 {
			sleep(lease / 10)
			require.True(t, m.runs("syd", m.nodes["syd"], "u-pay"))
		}
		m.net.set("syd", leader, false)
	})
}

// The answer takes long. The lease is counted from when it was asked for.
func TestALateAnswerCountsFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := leasedMesh(t)
		q := m.nodes["syd"]
		was := q.Lease()
		require.Eventually(t, func() bool { return q.Lease() != was }, lease, time.Millisecond)
		was = q.Lease()
		sleep(state.RenewEvery(lease) - 50*time.Millisecond)
		m.net.isolate("syd", m.names(), true) // the next request is on its way for long
		sleep(lease / 4)
		m.net.isolate("syd", m.names(), false)
		require.Eventually(t, func() bool { return q.Lease() != was }, lease, time.Millisecond)
		boot, wall := m.clocks["syd"].read()
		left := q.Lease().Left(boot, wall)
		t.Logf("of %s, %s are left when the answer comes", lease, left)
		require.Less(t, left, lease-lease/4+100*time.Millisecond)
		require.Greater(t, left, lease/2)
	})
}

// Whatever a clock does that tells of more time than another has seen ends the lease at once; the next one counts again.
func TestClocksThatJump(t *testing.T) {
	for name, by := range map[string]struct{ boot, wall time.Duration }{
		"suspend":                    {time.Minute, time.Minute},
		"suspend, unseen by the day": {time.Minute, 0},
		"pause of a virtual machine": {0, time.Minute},
		"set back":                   {0, -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, _ := leasedMesh(t)
				w := m.watch("u-pay")
				m.failOver()
				for range 3 {
					sleep(lease)
					require.True(t, m.runs("syd", m.nodes["syd"], "u-pay"))
					m.clocks["syd"].jump(by.boot, by.wall)
					require.False(t, m.runs("syd", m.nodes["syd"], "u-pay"))
					m.leased("syd", "u-pay")
				}
				require.Equal(t, []string{"syd"}, w.runners())
			})
		})
	}
}

// The mesh was recovered without its newest entries. A node that has heard of some gets no lease before it has heard better.
func TestANodeOfAnotherHistoryGetsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		r := m.nodes[leader].seat.Load().regent
		at := positionOf(m.nodes[leader].View())
		_, err := r.grant(m.ctx(), renewal{"syd", at})
		require.NoError(t, err)
		for _, strange := range []position{{at.Index, "p-other"}, {at.Index - 1, "p-other"}, {at.Index + 1, "p-later"}} {
			_, err := r.grant(m.ctx(), renewal{"syd", strange})
			require.ErrorContains(t, err, "is not what "+leader+" knows", "%v", strange)
		}
	})
}

func TestANodeThatWasRemovedGetsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		require.True(t, m.propose(leader, state.ForgetNode{Name: "syd", DeletePods: true}).OK)
		_, err := m.nodes[leader].seat.Load().regent.grant(m.ctx(), renewal{Node: "syd"})
		require.ErrorContains(t, err, "not in the mesh")
	})
}
