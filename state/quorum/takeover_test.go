package quorum

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

func id(node string) raft.ServerID           { return raft.ServerID(node) }
func address(node string) raft.ServerAddress { return raft.ServerAddress(node) }

// A node is cut off: nobody runs its pod before its lease is over, with all that belongs to it, and then another does.
func TestACutOffNodeIsGivenUpWhenItsLeaseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := leasedMesh(t)
		w := m.watch("u-pay")
		m.failOver()
		sleep(lease)
		require.Empty(t, w.runners()[1:])
		cut := time.Now()
		m.net.isolate("syd", m.names(), true)
		var to string
		require.Eventually(t, func() bool {
			runners := w.runners()
			to = runners[len(runners)-1]
			return to != "syd"
		}, time.Minute, time.Millisecond)
		took, over := time.Since(cut), w.lastOf("syd").Sub(cut)
		t.Logf("syd could run the pod for %s, and %s after %s", over, to, took)
		require.LessOrEqual(t, over, lease)
		require.GreaterOrEqual(t, took, over+lease/10+state.FenceBound)
		require.Less(t, took, state.TakeOverAfter(lease)+time.Second)

		// It comes back and knows of the failover before it has a lease. It may take part again.
		m.net.isolate("syd", m.names(), false)
		require.NoError(t, m.nodes["syd"].Sync(m.ctx()))
		pod, _ := m.nodes["syd"].View().Pod("pay")
		require.Equal(t, to, pod.Node)
		require.Equal(t, "syd", pod.Origin.From)
		m.protect("more", "u-more", "syd", "syd")
		m.leased("syd", "u-more")
	})
}

// The leader goes while a node is cut off: the next one counts from its election, since the one before may have granted anything
// until then.
func TestANewLeaderCountsFromItsElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		w := m.watch("u-pay")
		m.failOver()
		m.net.isolate("syd", m.names(), true)
		sleep(lease / 2)
		m.kill(leader)
		next := m.leader(others(leader)...)
		elected := time.Now()
		require.Eventually(t, func() bool { return len(w.runners()) > 1 }, time.Minute, time.Millisecond)
		t.Logf("%s took over after %s", next, time.Since(elected))
		require.GreaterOrEqual(t, time.Since(elected)+100*time.Millisecond, state.TakeOverAfter(lease))
	})
}

// A leader that is cut off with the node that has the pod can't make sure that it leads: it grants nothing.
func TestALeaderWithoutMajorityGrantsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		w := m.watch("u-pay")
		m.failOver()
		for _, node := range append(others(leader), "tok") {
			m.net.set(leader, node, true)
			m.net.set("syd", node, true)
		}
		cut := time.Now()
		require.Eventually(t, func() bool { return len(w.runners()) > 1 }, time.Minute, time.Millisecond)
		require.LessOrEqual(t, w.lastOf("syd").Sub(cut), lease)
		require.Empty(t, m.nodes[leader].Lost())
	})
}

// It doesn't have to notice: a leader grants nothing that no majority has confirmed since it was asked.
func TestALeaderThatBelievesToLeadGrantsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		s := m.nodes[leader].seat.Load()
		_, err := s.regent.grant(m.ctx(), renewal{Node: "syd"})
		require.NoError(t, err)
		for _, node := range others(leader) {
			m.net.set(leader, node, true)
		}
		require.True(t, s.leads())
		_, err = s.regent.grant(m.ctx(), renewal{Node: "syd"})
		require.ErrorContains(t, err, "does not confirm")
	})
}

// A leader decides on a failover, and is deposed before it has proposed it. The next one has granted the node a lease.
func TestADeposedLeaderTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		w := m.watch("u-pay")
		m.net.isolate("syd", m.names(), true)
		require.Eventually(t, func() bool { return slices.Contains(m.nodes[leader].Lost(), "syd") }, time.Minute, time.Millisecond)
		var outcomes []Outcome
		for outcomes = nil; len(outcomes) == 0; sleep(10 * time.Millisecond) {
			outcomes = m.nodes[leader].FailOver(func(v state.View, l state.Loss) []state.Command {
				m.net.isolate("syd", m.names(), false)
				m.net.isolate(leader, m.names(), true)
				next := m.leader(others(leader)...)
				require.Eventually(t, func() bool { return m.nodes[next].View().Reign().Server == next }, time.Minute, time.Millisecond)
				m.leased("syd", "u-pay")
				m.net.isolate(leader, m.names(), false)
				return decide(v, l)
			})
		}
		require.Len(t, outcomes, 1)
		t.Logf("%+v", outcomes[0])
		require.True(t, outcomes[0].Err != nil || !outcomes[0].Result.OK)
		sleep(2 * lease)
		pod, _ := m.nodes["tok"].View().Pod("pay")
		require.Equal(t, "syd", pod.Node)
		require.Equal(t, []string{"syd"}, w.runners())
	})
}

// A node comes back while its pods are being moved: it gets no lease before it can know of that.
func TestWhoWasGivenUpWaitsForTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		w := m.watch("u-pay")
		m.net.isolate("syd", m.names(), true)
		require.Eventually(t, func() bool { return slices.Contains(m.nodes[leader].Lost(), "syd") }, time.Minute, time.Millisecond)
		was := m.nodes["syd"].Lease()
		outcomes := m.nodes[leader].FailOver(func(v state.View, l state.Loss) []state.Command {
			m.net.isolate("syd", m.names(), false)
			require.NoError(t, m.nodes["syd"].Sync(m.ctx()))
			sleep(lease)
			require.Equal(t, was, m.nodes["syd"].Lease())
			require.ErrorContains(t, m.nodes["syd"].LeaseProblem(), "has given node syd up")
			return []state.Command{state.Failover{UID: "u-pay", Epoch: 1, From: "syd", To: "tok", Term: l.Term}}
		})
		require.True(t, outcomes[0].Result.OK, "%+v", outcomes)
		m.leased("tok", "u-pay")
		m.protect("more", "u-more", "syd", "tok")
		m.leased("syd", "u-more")
		sleep(2 * lookEvery)
		require.Equal(t, []string{"syd", "tok"}, w.runners())
	})
}

// What a leader has decided in an earlier reign of its own comes late.
func TestAFailoverOfAnEarlierReignOfTheSameLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		r := m.nodes[leader].seat.Load().regent
		old := state.Failover{UID: "u-pay", Epoch: 1, From: "syd", To: "tok", Term: m.nodes[leader].View().Reign().Term}
		m.net.isolate(leader, m.names(), true)
		m.leader(others(leader)...)
		m.net.isolate(leader, m.names(), false)
		m.leader(servers...)
		for m.leader(servers...) != leader {
			require.NoError(t, m.nodes[m.leader(servers...)].seat.Load().raft.LeadershipTransferToServer(id(leader), address(leader)).Error())
		}
		require.Eventually(t, func() bool { return m.nodes[leader].View().Reign().Term > old.Term+1 }, time.Minute, time.Millisecond)
		result, err := r.apply(old)
		require.NoError(t, err)
		require.False(t, result.OK)
		require.Contains(t, result.Reason, "not this leader's")
	})
}

func TestNobodyButTheLeaderTakesAPodAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		term := m.nodes[leader].View().Reign().Term
		for _, c := range []state.Command{
			state.Failover{UID: "u-pay", Epoch: 1, From: "syd", To: "tok", Term: term},
			state.AbortAndFailover{UID: "u-pay", Epoch: 1, From: "syd", To: "tok", Term: term},
			state.Reign{Server: "tok", Term: term + 1},
		} {
			for _, node := range []string{leader, "tok"} {
				_, err := m.nodes[node].Propose(m.ctx(), c)
				require.ErrorIs(t, err, ErrNotProposed)
			}
			data, err := state.Encode("p-1", c)
			require.NoError(t, err)
			data, err = encode(request{Command: data})
			require.NoError(t, err)
			_, err = m.nodes[leader].HandleForward(m.ctx(), data)
			require.Error(t, err, "nor does it take one from a node that proposes it nevertheless")
		}
		require.Empty(t, m.nodes[leader].FailOver(func(state.View, state.Loss) []state.Command { panic("nobody is lost") }))
	})
}

// Servers are configured differently. Who leads says how long a lease is; the next leader waits for the longest that there may be,
// until it is over for sure.
func TestLeasesOfDifferentLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := emptyMesh(t, 2*time.Millisecond, quick(), servers...)
		m.leases["ams"] = 20 * time.Second
		for _, node := range servers {
			m.open(node)
		}
		for leader := m.leader(servers...); leader != "ams"; leader = m.leader(servers...) {
			require.NoError(t, m.nodes[leader].seat.Load().raft.LeadershipTransferToServer(id("ams"), address("ams")).Error())
		}
		m.populate()
		require.Equal(t, 20*time.Second, m.nodes["syd"].Lease().Duration)
		w := m.watch("u-pay")
		m.failOver()
		m.net.isolate("syd", m.names(), true)
		m.kill("ams")
		next := m.leader(others("ams")...)
		elected := time.Now()
		require.Eventually(t, func() bool { return len(w.runners()) > 1 }, time.Minute, time.Millisecond)
		require.GreaterOrEqual(t, time.Since(elected)+100*time.Millisecond, state.TakeOverAfter(20*time.Second))
		require.Eventually(t, func() bool { return m.nodes[next].View().LongestLease() == lease }, time.Minute, time.Millisecond)
	})
}

func TestAFailoverThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		m.net.isolate("syd", m.names(), true)
		require.Eventually(t, func() bool { return slices.Contains(m.nodes[leader].Lost(), "syd") }, time.Minute, time.Millisecond)
		term := m.nodes[leader].View().Reign().Term
		outcomes := m.nodes[leader].FailOver(func(state.View, state.Loss) []state.Command {
			return []state.Command{
				state.Abort{Migration: "m-1"},
				state.Failover{UID: "u-pay", Epoch: 1, From: "syd", To: "tok", Term: term - 1},
				state.Failover{UID: "u-pay", Epoch: 2, From: "syd", To: "tok", Term: term},
			}
		})
		require.Len(t, outcomes, 3)
		require.ErrorIs(t, outcomes[0].Err, ErrNotProposed)
		require.ErrorIs(t, outcomes[1].Err, ErrNotProposed)
		require.NoError(t, outcomes[2].Err)
		require.False(t, outcomes[2].Result.OK)
		m.net.isolate("syd", m.names(), false)
		m.leased("syd", "u-pay")
	})
}
