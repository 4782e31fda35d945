package agent

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
)

// Whatever pods there are and whatever goes wrong: each has one turn and one outcome, what is said is so, and what stays
// could not have gone anywhere.
func TestDrainAtRandom(t *testing.T) {
	outcomes := map[api.DrainOutcome]int{}
	for seed := range uint64(400) {
		g := rand.New(rand.NewPCG(seed, 3))
		m := newDrainMesh(t)
		for i := range 1 + g.IntN(7) {
			needs := state.Needs{CPU: int64(g.IntN(8)) * 250, Memory: int64(g.IntN(4)) << 30}
			if g.IntN(8) == 0 {
				needs.Pinned = "so"
			}
			m.machine.Apply(podAt([]string{"ams", "ams", "fra", "nyc"}[g.IntN(4)], fmt.Sprintf("p%d", i), needs))
		}
		before := m.view()
		for _, p := range before.Pods() {
			for _, to := range []string{"fra", "nyc"} {
				if g.IntN(5) == 0 {
					m.refuse[p.Name+" "+to] = "no"
				}
			}
			if g.IntN(6) == 0 {
				m.fail[p.Name] = errors.New("it broke")
			}
		}
		parallel := 1 + g.IntN(3)
		ended := m.drain("ams", parallel).run(t.Context(), t.Context())
		after := m.view()
		require.LessOrEqual(t, m.most, parallel)
		seen := map[string]bool{}
		for _, p := range ended {
			outcomes[p.Outcome]++
			require.False(t, seen[p.Pod], "seed %d: %s twice", seed, p.Pod)
			seen[p.Pod] = true
			now, _ := after.Pod(p.Pod)
			require.Equal(t, p.Outcome == api.DrainMoved, now.Node != "ams", "seed %d: %s", seed, outcome(p))
			require.Equal(t, p.Outcome == api.DrainMoved, now.Node == p.To, "seed %d: %s", seed, outcome(p))
			if p.Outcome == api.DrainStays {
				require.NotEmpty(t, p.Reason)
			}
			if p.Outcome == api.DrainStays && m.fail[p.Pod] == nil && parallel == 1 {
				for _, to := range []string{"fra", "nyc"} {
					d := state.Schedule(after, state.Request{Pod: &now, To: to})
					require.True(t, d.Node == "" || m.refuse[p.Pod+" "+to] != "", "seed %d: %s could go to %s", seed, p.Pod, to)
				}
			}
		}
		for _, p := range before.Pods() {
			require.Equal(t, p.Node == "ams", seen[p.Name], "seed %d: %s", seed, p.Name)
		}
	}
	require.Greater(t, min(outcomes[api.DrainMoved], outcomes[api.DrainStays]), 200, "%v", outcomes)
}
