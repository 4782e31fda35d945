package quorum

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// knows says whether a node's View has another node.
func (m *mesh) knows(node, other string) bool {
	_, ok := m.nodes[node].View().Node(other)
	return ok
}

// disaster has two servers agree on something that the third has not heard, and be lost. The third is stopped.
func disaster(t *testing.T) (m *mesh, survivor string, lost []string) {
	m = newMesh(t, time.Millisecond, quick(), append([]string{plain}, servers...)...)
	leader := m.leader(servers...)
	m.found(leader)
	lost, survivor = []string{leader, others(leader)[0]}, others(leader)[1]
	m.agree(append([]string{plain}, servers...)...)
	m.net.isolate(survivor, append(lost, plain), true)
	require.True(t, m.propose(leader, register("unheard", false)).OK)
	m.agree(append([]string{plain}, lost...)...)
	for _, node := range append([]string{survivor}, lost...) { // before what is under way to it can come after all
		m.kill(node)
	}
	m.net.heal()
	m.open(survivor)
	ctx, cancel := contextWithTimeout(m, 5*time.Second)
	defer cancel()
	_, err := m.nodes[plain].Propose(ctx, register("y", false))
	require.Error(t, err, "one server of three went on by itself")
	m.stop(survivor)
	return m, survivor, lost
}

func (m *mesh) recover(node string) Remnant {
	m.t.Helper()
	<-time.After(time.Second) // snapshots are named by their time
	before, err := Inspect(m.dirs[node], testLog(node))
	require.NoError(m.t, err)
	after, err := Recover(m.dirs[node], node, testLog(node))
	require.NoError(m.t, err)
	require.Equal(m.t, before.Era+1, after.Era)
	require.Greater(m.t, after.Term, before.Term)
	require.Equal(m.t, before.View.Index(), after.View.Index())
	require.Equal(m.t, []string{node}, after.Servers)
	return before
}

func TestTheMeshIsRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, survivor, lost := disaster(t)
		before := m.recover(survivor)
		require.ElementsMatch(t, servers, before.Servers)
		require.Len(t, before.View.Pods(), 1)
		require.WithinDuration(t, time.Now(), before.Newest, time.Minute)
		old := m.nodes[plain].View().Reign().Term

		m.open(survivor)
		r := m.propose(plain, register("y", false))
		require.True(t, r.OK, r.Reason)
		m.agree(survivor, plain)
		require.Len(t, m.nodes[plain].View().Pods(), 1)
		require.False(t, m.knows(plain, "unheard"), "it was lost, and who had heard of it knows that")
		require.Greater(t, m.nodes[plain].View().Reign().Term, old+newEraTerms/2)

		// The lost ones come back, with all that they had. Together they would be a majority of the servers that they know.
		for _, node := range lost {
			m.open(node)
		}
		for _, node := range lost {
			require.True(t, m.propose(node, register("by-"+node, false)).OK)
		}
		m.votes(servers, append([]string{plain}, servers...)...)
		m.agree(append([]string{plain}, servers...)...)
		for _, node := range lost {
			require.True(t, m.knows(survivor, "by-"+node))
			require.False(t, m.knows(node, "unheard"))
		}
		require.Len(t, m.nodes[lost[0]].View().Pods(), 1)

		// And it is a mesh like any other.
		for _, node := range servers {
			m.kill(node)
			m.leader(others(node)...)
			require.True(t, m.propose(plain, register(plain, false)).OK)
			m.open(node)
			m.agree(append([]string{plain}, servers...)...)
		}
		require.Equal(t, uint64(1), m.nodes[lost[0]].seat.Load().era)
	})
}

// TestLostServersThatComeBackApart has them come back where the recovered mesh can't be reached. Nobody can keep them from
// going on there; once they hear of it they give way.
func TestLostServersThatComeBackApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, survivor, lost := disaster(t)
		m.recover(survivor)
		m.net.isolate(survivor, lost, true)
		m.open(survivor)
		require.True(t, m.propose(survivor, register("y", false)).OK)
		for _, node := range lost {
			m.open(node)
		}
		require.True(t, m.propose(lost[0], register("z", false)).OK)
		m.fill(lost[0], 50, 10) // so that theirs is the longer history
		// Who has heard of the recovery is not fooled.
		require.NoError(t, m.nodes[plain].Sync(m.ctx()))
		require.Eventually(t, func() bool { return m.knows(plain, "y") && !m.knows(plain, "z") }, time.Minute, time.Millisecond)
		require.True(t, m.propose(plain, register("w", false)).OK)
		require.True(t, m.knows(plain, "w"))

		m.net.heal()
		m.votes(servers, append([]string{plain}, servers...)...)
		m.agree(append([]string{plain}, servers...)...)
		for _, node := range servers {
			require.True(t, m.knows(node, "y") && m.knows(node, "w"))
			require.False(t, m.knows(node, "z"))
		}
	})
}

// TestErasDoNotMix has the lost servers come back where they reach the recovered one by Raft's streams alone, so that nobody
// tells them: those are of another era.
func TestErasDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, survivor, lost := disaster(t)
		m.recover(survivor)
		deaf := func(node string) {
			cfg := m.config(node)
			forward := cfg.Forward
			cfg.Forward = func(ctx context.Context, to string, data []byte) ([]byte, error) {
				if slices.Contains(lost, node) != slices.Contains(lost, to) {
					return nil, errors.New("no answer")
				}
				return forward(ctx, to, data)
			}
			m.openAs(node, cfg)
		}
		for _, node := range servers {
			deaf(node)
		}
		require.True(t, m.propose(survivor, register("y", false)).OK)
		require.True(t, m.propose(lost[0], register("z", false)).OK)
		<-time.After(time.Minute)
		require.Equal(t, survivor, m.leader(survivor))
		require.Equal(t, []string{survivor}, m.nodes[survivor].Status().Voters)
		require.False(t, m.knows(survivor, "z"))
		require.False(t, m.knows(survivor, "unheard"))
	})
}

// TestAnEarlierEraDecidesNothing has a leader of before the recovery be asked by a node that knows of it: it grants no lease and
// commits nothing, and from then on it knows too. What it had decided comes too late in the recovered mesh, by its term.
func TestAnEarlierEraDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, survivor, lost := disaster(t)
		m.recover(survivor)
		m.net.isolate(survivor, lost, true)
		m.net.isolate(plain, lost, true)
		m.open(survivor)
		require.True(t, m.propose(plain, register("y", false)).OK)
		for _, node := range lost {
			m.open(node)
		}
		leader := m.leader(lost...)
		require.True(t, m.propose(leader, register("z", false)).OK)
		old := m.nodes[leader].View().Reign()

		m.net.isolate(plain, lost, false)
		data, err := state.Encode(newID(), register("late", false))
		require.NoError(t, err)
		for _, r := range []request{{Renew: &renewal{Node: plain}}, {Command: data}, {Barrier: true}} {
			_, err := m.nodes[plain].forward(m.ctx(), leader, r)
			require.ErrorIs(t, err, ErrNotProposed)
		}
		for _, node := range lost {
			require.Eventually(t, func() bool { return m.nodes[node].seat.Load() == nil }, time.Minute, time.Millisecond)
		}
		s := m.nodes[survivor].seat.Load()
		result, err := s.regent.apply(state.Failover{UID: "u-1", Epoch: 1, From: "ams", To: "fra", Term: old.Term, At: time.Unix(2, 0)})
		require.NoError(t, err)
		require.False(t, result.OK)
		require.Contains(t, result.Reason, "it was decided in term")

		m.net.heal()
		m.votes(servers, append([]string{plain}, servers...)...)
		m.agree(append([]string{plain}, servers...)...)
		require.False(t, m.knows(plain, "late") || m.knows(plain, "z"))
	})
}

func TestAnInterruptedRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, survivor, _ := disaster(t)
		d, err := openRemnant(m.dirs[survivor], testLog(survivor))
		require.NoError(t, err)
		require.NoError(t, d.meta.change(func(r *record) { r.Stable[recoveringKey] = []byte{1} }))
		require.NoError(t, d.Close())
		_, err = Open(m.ctx(), m.config(survivor))
		require.ErrorContains(t, err, "do it again (drover mesh recover)")
		m.recover(survivor)
		m.recover(survivor) // twice does no harm
		m.open(survivor)
		require.True(t, m.propose(survivor, register("y", false)).OK)
	})
}

func TestWhatCanNotBeRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), servers...)
		m.found(m.leader(servers...))
		_, err := Recover(m.dirs["ams"], "ams", testLog("ams"))
		require.ErrorContains(t, err, "another agent")
		_, err = Recover(t.TempDir(), "ams", testLog("ams"))
		require.ErrorIs(t, err, ErrNoLog)
		m.kill("ams")
		m.spoil("ams")
		_, err = Recover(m.dirs["ams"], "ams", testLog("ams"))
		require.ErrorIs(t, err, errDamaged)
		require.False(t, damaged(m.dirs["ams"]), "it's left to the operator")
		require.NoError(t, os.RemoveAll(m.dirs["ams"]))
	})
}

// TestRecoveryKeepsWhatWasNotAgreed has the survivor be the leader whose last entry nobody else has.
func TestRecoveryKeepsWhatWasNotAgreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		m.agree(servers...)
		m.net.isolate(leader, servers, true)
		ctx, cancel := contextWithTimeout(m, 100*time.Millisecond)
		defer cancel()
		_, err := m.nodes[leader].Propose(ctx, state.RegisterNode{Node: state.Node{Name: "mine", Site: "s"}})
		require.Error(t, err, "its outcome is unknown")
		for _, node := range servers {
			m.kill(node)
		}
		m.net.heal()
		m.recover(leader)
		m.open(leader)
		require.NoError(t, m.nodes[leader].Sync(m.ctx()))
		require.True(t, m.knows(leader, "mine"))
	})
}
