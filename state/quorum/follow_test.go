package quorum

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// plain is the node of these tests that is no server.
const plain = "syd"

// follows waits until a plain node follows one of these servers.
func (m *mesh) follows(node string, servers ...string) {
	m.t.Helper()
	require.Eventually(m.t, func() bool { return slices.Contains(servers, m.nodes[node].Status().Follows) }, time.Minute, time.Millisecond)
}

// bytesOf is the whole state of a node.
func (m *mesh) bytesOf(node string) string {
	var b bytes.Buffer
	require.NoError(m.t, m.nodes[node].View().Snapshot(&b))
	return b.String()
}

// agree waits until nodes have all that was committed, and compares.
func (m *mesh) agree(nodes ...string) {
	m.t.Helper()
	for _, node := range nodes {
		require.NoError(m.t, m.nodes[node].Sync(m.ctx()))
	}
	for _, node := range nodes[1:] {
		require.NoError(m.t, m.nodes[node].reached(m.ctx(), m.nodes[nodes[0]].View().Index()))
		require.Equal(m.t, m.bytesOf(nodes[0]), m.bytesOf(node), node)
	}
}

// fill commits commands of some size, which are refused.
func (m *mesh) fill(node string, count, size int) {
	m.t.Helper()
	manifest, err := json.Marshal(strings.Repeat("x", size))
	require.NoError(m.t, err)
	for range count {
		m.propose(node, state.CreatePod{Name: "big", UID: "u-big", Node: "nowhere", Manifest: manifest})
	}
}

// snapshotted says whether what a follower has began with a snapshot of at least so many commands.
func snapshotted(q *Quorum, index uint64) bool {
	m := q.follower.Load().machine
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tail.base.Index >= index
}

func TestAPlainNodeFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), append([]string{plain}, servers...)...)
		m.found(m.leader(servers...))
		syd := m.nodes[plain]
		require.NoError(t, syd.Sync(m.ctx()))
		require.Len(t, syd.View().Pods(), 1)
		leader := m.leader(servers...)
		m.follows(plain, leader) // the first to know
		st := syd.Status()
		require.Equal(t, "plain", st.Role)
		require.Equal(t, servers, st.Voters)
		require.Empty(t, st.Joining)
		require.Equal(t, leader, st.Leader)
		require.Equal(t, syd.View().Index(), st.Applied)
		require.Less(t, st.LastContact, time.Second)

		for i := range 30 {
			before := syd.View().Index()
			r := m.propose(plain, state.RegisterNode{Node: state.Node{Name: plain, Site: "sydney", Version: fmt.Sprint(i)}})
			require.True(t, r.OK, r.Reason)
			n, _ := syd.View().Node(plain)
			require.Equal(t, fmt.Sprint(i), n.Version, "it shows when Propose returns")
			require.Greater(t, syd.View().Index(), before)
		}
		entries, err := os.ReadDir(m.dirs[plain])
		require.NoError(t, err)
		require.Empty(t, entries, "it has nothing of Raft")

		// It has no vote: two servers down is no majority.
		m.stop(others(leader)[0])
		m.stop(m.leader(m.up()...))
		ctx, cancel := contextWithTimeout(m, time.Second)
		defer cancel()
		require.Error(t, syd.Sync(ctx))
		require.Len(t, syd.View().Pods(), 1)
	})
}

func TestAPlainNodeOutlivesServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), append([]string{plain}, servers...)...)
		leader := m.leader(servers...)
		m.found(leader)
		require.NoError(t, m.nodes[plain].Sync(m.ctx()))
		for range 4 { // each leader in turn
			leader := m.leader(servers...)
			m.follows(plain, leader)
			m.kill(leader)
			m.fill(m.leader(others(leader)...), 3, 10)
			r := m.propose(plain, register(plain, false))
			require.True(t, r.OK, r.Reason)
			require.False(t, snapshotted(m.nodes[plain], 1), "it went on from where it was")
			m.open(leader)
			m.agree(append([]string{plain}, servers...)...)
		}
		// The one that it follows goes, and says so.
		leader = m.leader(servers...)
		m.stop(leader)
		m.leader(others(leader)...)
		require.True(t, m.propose(plain, register(plain, false)).OK)
		m.open(leader)
		m.agree(append([]string{plain}, servers...)...)
	})
}

func TestAPlainNodeThatIsCutFromTheLeaderHearsOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), append([]string{plain}, servers...)...)
		leader := m.leader(servers...)
		m.found(leader)
		m.follows(plain, leader)
		m.net.set(plain, leader, true)
		m.fill(leader, 3, 10)
		require.NoError(t, m.nodes[plain].reached(m.ctx(), m.nodes[leader].View().Index()))
		m.follows(plain, others(leader)...)
		require.Equal(t, leader, m.nodes[plain].Leader())
		require.True(t, m.propose(plain, register(plain, false)).OK, "by way of another server")
		require.NoError(t, m.nodes[plain].Sync(m.ctx()))

		m.net.set(plain, leader, false)
		m.follows(plain, leader) // again
		require.False(t, snapshotted(m.nodes[plain], 1))
		m.agree(append([]string{plain}, servers...)...)
	})
}

func TestOneThatWasAwayForLongGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), append([]string{plain}, servers...)...)
		leader := m.leader(servers...)
		m.found(leader)
		require.NoError(t, m.nodes[plain].Sync(m.ctx()))
		before := m.nodes[plain].View().Index()
		m.net.isolate(plain, servers, true)
		m.fill(leader, 6, 900_000)
		require.Equal(t, before, m.nodes[plain].View().Index())
		for _, s := range servers {
			machine := m.nodes[s].seat.Load().machine
			machine.mu.Lock()
			kept := machine.tail.bytes
			machine.mu.Unlock()
			require.LessOrEqual(t, kept, tailBytes)
		}
		m.net.isolate(plain, servers, false)
		m.agree(append([]string{plain}, servers...)...)
		require.True(t, snapshotted(m.nodes[plain], before+1))
		m.propose(leader, register(plain, false))
		m.agree(append([]string{plain}, servers...)...)
	})
}

func TestAFollowerThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		c, err := m.net.dial("slow")(m.ctx(), leader, Follow)
		require.NoError(t, err)
		require.NoError(t, writeMessage(c, frameHello, hello{Node: "slow"}))
		done := make(chan error, 1)
		go func() { m.fill(leader, 12, 100_000); done <- nil }()
		require.Eventually(t, func() bool { return m.net.peer("slow", Follow) == "" }, 20*time.Second, 5*time.Millisecond, "it was hung up on")
		require.NoError(t, <-done)
		n, err := io.Copy(io.Discard, c)
		require.NoError(t, err)
		require.Less(t, n, int64(12*100_000), "it was told more than it could have read")
	})
}

func TestSnapshotsWhileCommandsAreApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		m.fill(leader, 6, 900_000) // whoever comes now can't begin with the first command
		stop, ended := make(chan struct{}), make(chan error, 1)
		q := m.nodes[leader]
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := q.Propose(m.ctx(), register("nyc", true)); err != nil {
					ended <- err
					return
				}
			}
		}()
		var late []string
		for i := range 6 {
			node := fmt.Sprintf("p%d", i)
			late = append(late, node)
			require.NoError(t, m.open(node).Sync(m.ctx()))
			require.True(t, snapshotted(m.nodes[node], 1))
		}
		close(stop)
		require.NoError(t, <-ended)
		m.agree(append(late, servers...)...)
	})
}

func TestAllServersRestartUnderAPlainNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), append([]string{plain}, servers...)...)
		m.found(m.leader(servers...))
		require.NoError(t, m.nodes[plain].Sync(m.ctx()))
		for _, s := range servers {
			m.kill(s)
		}
		require.Len(t, m.nodes[plain].View().Pods(), 1)
		require.Eventually(t, func() bool { return m.nodes[plain].Leader() == "" }, 20*time.Second, 5*time.Millisecond)
		for _, s := range servers {
			m.open(s)
		}
		require.True(t, m.propose(plain, register(plain, false)).OK)
		m.agree(append([]string{plain}, servers...)...)
		require.False(t, snapshotted(m.nodes[plain], 1))
		// And now itself.
		m.kill(plain)
		m.open(plain)
		m.agree(append([]string{plain}, servers...)...)
	})
}
