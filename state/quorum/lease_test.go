package quorum

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

func id(node string) raft.ServerID           { return raft.ServerID(node) }
func address(node string) raft.ServerAddress { return raft.ServerAddress(node) }

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

// However many nodes ask, few calls between the servers serve them all.
func TestManyQuestionsAreOneRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		var calls atomic.Int64
		w := m.witness(leader, m.asking(leader, func(a answer, err error) (answer, error) {
			calls.Add(1)
			return a, err
		}))
		const nodes, rounds = 100, 10
		var all sync.WaitGroup
		for range nodes {
			all.Go(func() {
				for range rounds {
					_, err := w.confirm(m.ctx())
					require.NoError(t, err)
				}
			})
		}
		begun := time.Now()
		all.Wait()
		t.Logf("%d questions took %d calls and %s", nodes*rounds, calls.Load(), time.Since(begun))
		require.LessOrEqual(t, calls.Load(), int64((rounds+2)*(len(servers)-1)))
	})
}

func TestConfirmNeedsTheMajorityOfTheVoters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, leader := leasedMesh(t)
		plain := func(a answer, err error) (answer, error) { return a, err }
		term, err := m.witness(leader, m.asking(leader, plain)).confirm(m.ctx())
		require.NoError(t, err)
		require.Equal(t, m.nodes[leader].Status().Term, term)
		m.net.set(leader, others(leader)[0], true)
		_, err = m.witness(leader, m.asking(leader, plain)).confirm(m.ctx())
		require.NoError(t, err, "two of three")
		// A voter that knows of a later term makes no majority.
		_, err = m.witness(leader, m.asking(leader, func(a answer, err error) (answer, error) { a.Term++; return a, err })).confirm(m.ctx())
		require.ErrorContains(t, err, "is in term")
		_, err = m.witness(leader, m.asking(leader, func(answer, error) (answer, error) { return answer{}, errors.New("gone") })).confirm(m.ctx())
		require.ErrorContains(t, err, "gone")
	})
}

type asking = func(context.Context, string, request) (answer, error)

// asking is a server's way to ask others, whose answers are changed.
func (m *mesh) asking(node string, change func(answer, error) (answer, error)) asking {
	return func(ctx context.Context, other string, r request) (answer, error) {
		return change(m.nodes[node].forward(ctx, other, r))
	}
}

// witness is one of a server's own, besides that of its leases.
func (m *mesh) witness(node string, ask asking) *witness {
	return &witness{seat: m.nodes[node].seat.Load(), every: lease / 60, ask: ask}
}
