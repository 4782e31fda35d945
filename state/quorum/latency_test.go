package quorum

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// BenchmarkPropose shows what a proposal costs beyond the speed of light: about one round trip at the
// leader, two elsewhere; "heard" is until every node's View has it.
func BenchmarkPropose(b *testing.B) {
	for _, rtt := range []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond} {
		for _, at := range []string{"leader", "follower"} {
			b.Run(fmt.Sprintf("rtt=%v/%s", rtt, at), func(b *testing.B) {
				m := newMesh(b, rtt/2, wan(), servers...)
				node := m.leader(servers...)
				m.found(node)
				if at == "follower" {
					node = others(node)[0]
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
					for _, s := range servers {
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
