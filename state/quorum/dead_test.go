package quorum

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// five begins a mesh of five servers of which the dead lose their votes.
func five(t *testing.T, deadAfter time.Duration) (m *mesh, all []string) {
	all = []string{"a", "b", "c", "d", "e"}
	m = emptyMesh(t, time.Millisecond, quick(), all...)
	m.dead = deadAfter
	for _, node := range all {
		m.open(node)
	}
	m.leader(all...)
	for _, node := range all {
		require.True(t, m.propose(node, register(node, true)).OK)
	}
	return m, all
}

// without returns all but some.
func without(all []string, gone ...string) (left []string) {
	for _, node := range all {
		if !slices.Contains(gone, node) {
			left = append(left, node)
		}
	}
	return left
}

// TestTheDeadLoseTheirVotes has three of five servers die one after the other: with the votes of the first two gone, the
// mesh bears the loss of the third.
func TestTheDeadLoseTheirVotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const deadAfter = 15 * time.Second
		m, all := five(t, deadAfter)
		up := all
		for len(up) > keepVoters {
			dead := m.leader(up...) // a new leader begins to count anew
			m.kill(dead)
			up = without(up, dead)
			m.leader(up...)
			<-time.After(deadAfter - 5*time.Second)
			require.Contains(t, m.nodes[up[0]].Status().Voters, dead, "not before its time")
			m.votes(up, up...)
		}
		last := without(up, m.leader(up...))[0]
		m.kill(last)
		left := without(up, last)
		leader := m.leader(left...)
		want := "server " + last + " is to be started again, or replaced: it has not answered for 15s"
		require.Eventually(t, func() bool { return m.nodes[leader].Status().Waiting == want }, 4*deadAfter, 100*time.Millisecond)
		require.ElementsMatch(t, up, m.nodes[leader].Status().Voters, "two votes would bear no more than three of which two answer")
		require.True(t, m.propose(left[0], state.RegisterNode{Node: state.Node{Name: "x", Site: "s"}}).OK)

		// Those that come back have lost their votes, and get them again without anybody's help. Then the last dead one isn't
		// needed any more.
		back := without(all, up...)
		for _, node := range back {
			m.open(node)
		}
		m.votes(append(left, back...), append(left, back...)...)
		m.agree(append(left, back...)...)
		m.open(last)
		m.votes(all, all...)
	})
}

// TestOneThatIsOnlySlowToReturnStays has a server be away for just less than it may, again and again.
func TestOneThatIsOnlySlowToReturnStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, all := five(t, time.Minute)
		node := without(all, m.leader(all...))[0]
		term := m.nodes[node].Status().Term
		for range 3 {
			m.net.isolate(node, all, true)
			<-time.After(55 * time.Second)
			m.net.isolate(node, all, false)
			m.agree(all...)
			<-time.After(10 * time.Second)
		}
		m.votes(all, all...)
		require.Equal(t, term, m.nodes[node].Status().Term, "there was an election")
	})
}

// TestTheMinorityBuriesNobody has two of five servers be cut off, with the leader among them: they can't take the others
// for dead, however long that lasts.
func TestTheMinorityBuriesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, all := five(t, 15*time.Second)
		leader := m.leader(all...)
		few := []string{leader, without(all, leader)[0]}
		many := without(all, few...)
		for _, node := range few {
			m.net.isolate(node, many, true)
		}
		m.votes(many, many...)
		for _, node := range few {
			require.ElementsMatch(t, all, m.nodes[node].Status().Voters)
			require.Empty(t, m.nodes[node].Leader())
		}
		m.net.heal()
		m.votes(all, all...)
		m.agree(all...)
	})
}

// TestANewcomerProvesItself has a server that joins be cut off again and again: it gets no vote before it stays.
func TestANewcomerProvesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, all := five(t, 0)
		m.join("f", true)
		for range 5 {
			require.Eventually(t, func() bool {
				s := m.nodes["f"].seat.Load()
				return s != nil && s.machine.view().Index() > 0
			}, time.Minute, time.Millisecond)
			m.net.isolate("f", all, true)
			<-time.After(3 * quick().intent())
			require.NotContains(t, m.nodes[m.leader(all...)].Status().Voters, "f")
			m.net.isolate("f", all, false)
			<-time.After(quick().settle() / 2)
		}
		m.votes(append(all, "f"), all...)
	})
}
