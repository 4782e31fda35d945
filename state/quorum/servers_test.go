package quorum

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// join starts a node and registers it, as its agent would.
func (m *mesh) join(node string, server bool) {
	m.t.Helper()
	m.roles[node] = server
	m.open(node)
	require.True(m.t, m.propose(node, register(node, server)).OK)
}

// votes waits until exactly these servers vote, as each of the nodes at sees it.
func (m *mesh) votes(want []string, at ...string) {
	m.t.Helper()
	want = slices.Sorted(slices.Values(want))
	for _, node := range at {
		require.Eventually(m.t, func() bool {
			st := m.nodes[node].Status()
			return slices.Equal(st.Voters, want) && len(st.Joining) == 0
		}, 40*time.Second, 5*time.Millisecond, "%s: %v", node, want)
	}
}

// forget removes a node from the mesh, and its pod.
func (m *mesh) forget(node, by string) {
	m.t.Helper()
	require.NoError(m.t, m.nodes[by].Sync(m.ctx()))
	if pod, ok := m.nodes[by].View().Pod("redis"); ok && pod.Node == node {
		require.True(m.t, m.propose(by, state.DeletePod{Name: "redis", UID: pod.UID}).OK)
	}
	r := m.propose(by, state.ForgetNode{Name: node})
	require.True(m.t, r.OK, r.Reason)
}

// admit lets a node join that was removed before.
func (m *mesh) admit(node, by string) {
	m.t.Helper()
	hash, now := state.Digest("sha256:"+strings.Repeat("ab", 32)), time.Unix(1000, 0)
	for _, c := range []state.Command{
		state.CreateToken{ID: "t-" + node, Hash: hash, Server: true, Uses: 1, Created: now, Expires: now.Add(time.Hour)},
		state.UseToken{ID: "t-" + node, Hash: hash, Node: node, Key: hash, At: now},
	} {
		r := m.propose(by, c)
		require.True(m.t, r.OK, r.Reason)
	}
}

// lose makes a node's disk a new one.
func (m *mesh) lose(node string) { m.dirs[node] = m.t.TempDir() }

func TestServersJoinLeaveAndAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := emptyMesh(t, time.Millisecond, quick(), "a")
		m.open("a")
		require.True(t, m.propose("a", register("a", true)).OK)
		all := []string{"a"}
		for _, node := range []string{"b", "c", "d", "e"} {
			m.join(node, true)
			all = append(all, node)
			m.votes(all, all...)
			require.Contains(t, []string{"leader", "follower"}, m.nodes[node].Status().Role)
			require.Empty(t, m.nodes[node].Status().Waiting)
		}
		m.join("p", false)
		m.votes(all, "p")
		m.agree("p", "a", "b", "c", "d", "e")

		// One is removed, while it is away.
		m.kill("b")
		m.forget("b", "p")
		left := []string{"a", "c", "d", "e"}
		m.votes(left, append(left, "p")...)

		// It comes back, disturbs nobody, and gets in again only when it is registered.
		leader := m.leader(left...)
		term := m.nodes[leader].Status().Term
		m.open("b")
		require.Eventually(t, func() bool { return m.nodes["b"].Status().Waiting == notRegistered }, 20*time.Second, 5*time.Millisecond)
		m.agree("b", "a")
		require.Equal(t, leader, m.leader(left...))
		require.Equal(t, term, m.nodes[leader].Status().Term, "there was an election")
		m.admit("b", "p")
		require.True(t, m.propose("b", register("b", true)).OK)
		m.votes(all, append(all, "p")...)

		// One is replaced by a fresh one of its name, without being removed before.
		m.kill("c")
		m.lose("c")
		m.join("c", true)
		m.leader(all...)
		m.votes(all, append(all, "p")...)
		require.Eventually(t, func() bool { return m.nodes["c"].Status().Role == "follower" }, 20*time.Second, 5*time.Millisecond)
		m.agree("p", "a", "b", "c", "d", "e")

		// Another as an operator would: removed, and joined anew on another host.
		m.kill("d")
		m.forget("d", "p")
		m.admit("d", "p")
		m.lose("d")
		m.join("d", true)
		m.votes(all, append(all, "p")...)
		m.agree("p", "a", "b", "c", "d", "e")
		require.Equal(t, m.nodes["a"].seat.Load().raft.LastIndex(), m.nodes["c"].seat.Load().raft.LastIndex())
	})
}

func TestAServerThatIsRemovedWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		gone := others(leader)[0]
		m.forget(gone, leader)
		left := others(gone)
		m.votes(left, left...)
		require.Eventually(t, func() bool { return m.nodes[gone].Status().Waiting == notRegistered }, 20*time.Second, 5*time.Millisecond)
		require.Nil(t, m.nodes[gone].seat.Load())
		m.propose(leader, state.MarkDeleting{Name: "redis"})
		m.agree(servers...)
		m.admit(gone, leader)
		require.True(t, m.propose(gone, register(gone, true)).OK)
		m.votes(servers, servers...)
	})
}

func TestTheLeaderIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), append([]string{plain}, servers...)...)
		leader := m.leader(servers...)
		m.found(leader)
		m.forget(leader, plain)
		left := others(leader)
		m.votes(left, left...)
		require.Contains(t, left, m.leader(left...))
		require.True(t, m.propose(plain, register(plain, false)).OK)
		m.votes(left, plain)
		m.agree(append(left, plain, leader)...)
		require.Nil(t, m.nodes[leader].seat.Load())
	})
}

func TestTheLastServersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		dead, last := others(leader)[0], others(leader)[1]
		m.kill(dead)
		m.leader(leader, last)
		// Without last nobody but the leader is left to answer, of two: the mesh would stand still.
		m.forget(last, leader)
		held := func(node string) func() bool {
			why := fmt.Sprintf("server %s should leave (it was removed from the mesh), but without it too few would answer", node)
			return func() bool { return m.nodes[leader].Status().Waiting == why }
		}
		require.Eventually(t, held(last), 20*time.Second, 5*time.Millisecond)
		require.ElementsMatch(t, servers, m.nodes[leader].Status().Voters)
		m.open(dead)
		m.votes([]string{leader, dead}, leader, dead)

		// Nor does the very last go.
		m.forget(dead, leader)
		m.votes([]string{leader}, leader)
		m.forget(leader, leader)
		require.Eventually(t, held(leader), 20*time.Second, 5*time.Millisecond)
		require.Equal(t, []string{leader}, m.nodes[leader].Status().Voters)
		require.Equal(t, "leader", m.nodes[leader].Status().Role)
	})
}

// TestLostMemory has a server lose its disk while the only other one that has a committed entry is away: it must not
// help the third, which lacks the entry, to lead.
func TestLostMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		forgetful, behind := others(leader)[0], others(leader)[1]
		m.agree(servers...)
		m.net.isolate(behind, servers, true)
		require.True(t, m.propose(leader, register("x", false)).OK)
		m.agree(leader, forgetful)
		m.kill(forgetful)
		m.kill(leader)
		m.lose(forgetful)
		m.net.heal()
		q := m.open(forgetful)
		ctx, cancel := contextWithTimeout(m, 3*time.Second)
		defer cancel()
		_, err := m.nodes[behind].Propose(ctx, register("y", false))
		require.Error(t, err, "a server that has lost its memory voted")
		require.Equal(t, "joining", q.Status().Role)

		m.open(leader)
		m.votes(servers, servers...)
		require.True(t, m.propose(forgetful, register("y", false)).OK)
		m.agree(servers...)
		_, ok := q.View().Node("x")
		require.True(t, ok)
	})
}

func TestAServerBecomesPlainAndAgainAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		node := others(leader)[0]
		m.stop(node)
		m.roles[node] = false
		m.open(node)
		require.True(t, remembers(m.dirs[node]), "what it remembers stays until the mesh can do without it")
		require.True(t, m.propose(node, register(node, false)).OK)
		m.votes(others(node), servers...)
		require.Eventually(t, func() bool { _, err := os.Stat(m.dirs[node]); return os.IsNotExist(err) }, 20*time.Second, 5*time.Millisecond)
		require.Equal(t, "plain", m.nodes[node].Status().Role)
		m.agree(servers...)

		m.stop(node)
		m.join(node, true)
		m.votes(servers, servers...)
	})
}

// TestLearnersOfOlderVersions has a plain node that an older version had made a member without a vote.
func TestLearnersOfOlderVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		m.config(plain)
		require.NoError(t, os.MkdirAll(filepath.Join(m.dirs[plain], logDir), 0o700))
		require.NoError(t, os.MkdirAll(filepath.Join(m.dirs[plain], snapshotsDir), 0o700))
		require.NoError(t, m.nodes[leader].seat.Load().raft.AddNonvoter(plain, plain, 0, time.Second).Error())
		require.Equal(t, []string{plain}, m.nodes[leader].Status().Joining)
		m.join(plain, false)
		m.votes(servers, append([]string{plain}, servers...)...)
		require.Eventually(t, func() bool { return !remembers(m.dirs[plain]) }, 20*time.Second, 5*time.Millisecond)
		m.agree(append([]string{plain}, servers...)...)
	})
}
