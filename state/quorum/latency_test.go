package quorum

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// TestProposalsTakeNoLongerThanLight has time stand still but for the network: what remains are round trips.
func TestProposalsTakeNoLongerThanLight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtt = 50 * time.Millisecond
		m := newMesh(t, rtt/2, wan(), append([]string{plain}, servers...)...)
		leader := m.leader(servers...)
		m.found(leader)
		m.follows(plain, leader)
		for node, trips := range map[string]time.Duration{leader: 1, others(leader)[0]: 2, plain: 2} {
			var longest time.Duration
			for i := range 20 {
				start := time.Now()
				r := m.propose(node, state.RegisterNode{Node: state.Node{Name: plain, Site: "sydney", Version: fmt.Sprint(i)}})
				require.True(t, r.OK, r.Reason)
				longest = max(longest, time.Since(start))
				if n, _ := m.nodes[node].View().Node(plain); node == plain {
					require.Equal(t, fmt.Sprint(i), n.Version)
				}
			}
			t.Logf("%s: %v", node, longest)
			require.LessOrEqual(t, longest, trips*rtt+rtt/10, node)
		}
	})
}

// TestACutCostsLittle has a plain node propose in the very moment in which the leader, which it follows, gets out of its
// reach: another server takes the command there and brings it back.
func TestACutCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 25*time.Millisecond, wan(), append([]string{plain}, servers...)...)
		leader := m.leader(servers...)
		m.found(leader)
		m.follows(plain, leader)
		m.net.set(plain, leader, true)
		start := time.Now()
		require.True(t, m.propose(plain, register(plain, false)).OK)
		_, ok := m.nodes[plain].View().Node(plain)
		require.True(t, ok)
		t.Logf("%v", time.Since(start))
		require.Less(t, time.Since(start), 2*wan().hedge+10*25*time.Millisecond)

		// From then on it knows.
		start = time.Now()
		require.True(t, m.propose(plain, register(plain, false)).OK)
		t.Logf("then %v", time.Since(start))
		require.Less(t, time.Since(start), wan().hedge)
	})
}

// BenchmarkPropose shows what a proposal costs beyond the speed of light: about one round trip at the
// leader, two elsewhere; "heard" is until every node's View has it.
func BenchmarkPropose(b *testing.B) {
	for _, rtt := range []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond} {
		for _, at := range []string{"leader", "follower", "plain"} {
			b.Run(fmt.Sprintf("rtt=%v/%s", rtt, at), func(b *testing.B) {
				m := newMesh(b, rtt/2, wan(), append([]string{plain}, servers...)...)
				node := m.leader(servers...)
				m.found(node)
				switch at {
				case "follower":
					node = others(node)[0]
				case "plain":
					node = plain
				}
				var proposing, heard time.Duration
				for i := 0; b.Loop(); i++ {
					id := fmt.Sprintf("m-%d", i/2)
					var c state.Command = state.Reserve{Migration: id, Pod: "redis", Source: "ams", Target: "fra"}
					if i%2 == 1 {
						c = state.Abort{Migration: id, Reason: "benchmark"}
					}
					start := time.Now()
					r := m.propose(node, c)
					require.True(b, r.OK, r.Reason)
					proposing += time.Since(start)
					for _, s := range append([]string{plain}, servers...) {
						_, err := m.nodes[s].Await(m.ctx(), func(v state.View) bool {
							g, ok := v.Migration(id)
							return ok && g.Phase == r.Migration.Phase
						})
						require.NoError(b, err)
					}
					heard += time.Since(start)
				}
				b.ReportMetric(float64(proposing.Milliseconds())/float64(b.N), "ms/propose")
				b.ReportMetric(float64(heard.Milliseconds())/float64(b.N), "ms/heard")
			})
		}
	}
}

// BenchmarkStore shows what the disk costs: one entry appended and synced.
func BenchmarkStore(b *testing.B) {
	s, err := openLog(b.TempDir(), newLogger(testLog("ams")))
	require.NoError(b, err)
	defer s.Close()
	index := uint64(0)
	for b.Loop() {
		index++
		require.NoError(b, s.StoreLog(&raft.Log{Index: index, Term: 1, Data: make([]byte, 200)}))
	}
}

// BenchmarkVote shows what the disk costs when Raft remembers a term or a vote.
func BenchmarkVote(b *testing.B) {
	s, err := openLog(b.TempDir(), newLogger(testLog("ams")))
	require.NoError(b, err)
	defer s.Close()
	for term := uint64(1); b.Loop(); term++ {
		require.NoError(b, s.SetUint64([]byte("CurrentTerm"), term))
	}
}
