package state

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScheduleAtRandom makes meshes and requests at random and compares each verdict with the machine's own: what the
// scheduler lets pass can be committed, what isn't can't, unless for a reason that only the scheduler knows.
func TestScheduleAtRandom(t *testing.T) {
	seeds := uint64(6000)
	if testing.Short() {
		seeds = 1000
	}
	fits, refused := 0, 0
	for seed := range seeds {
		g := rand.New(rand.NewPCG(seed, 2))
		m, r := randomMesh(g), Request{}
		v := m.View()
		if pods := v.Pods(); len(pods) > 0 && g.IntN(4) > 0 {
			r.Pod = &pods[g.IntN(len(pods))]
		} else {
			r.Needs = randomNeeds(g)
		}
		d := Schedule(v, r)
		require.Equal(t, d, Schedule(v, r), "seed %d", seed)
		require.Len(t, d.Nodes, len(v.Nodes()))
		for i, f := range d.Nodes {
			require.NotEmpty(t, f.Reasons, "seed %d: %+v", seed, f)
			require.False(t, i > 0 && f.Fits && !d.Nodes[i-1].Fits, "seed %d: %s", seed, words(d))
			require.False(t, i > 0 && f.Score > d.Nodes[i-1].Score, "seed %d: %s", seed, words(d))
			require.True(t, f.Score >= 0 && f.Score <= 100, "seed %d: %+v", seed, f)
			if f.Fits {
				fits++
			} else {
				refused++
			}
			checkVerdict(t, seed, m, r, f)
		}
		require.Equal(t, len(d.Nodes) > 0 && d.Nodes[0].Fits, d.Node != "", "seed %d", seed)
	}
	require.Greater(t, min(fits, refused), int(seeds)/4, "the meshes are too much alike")
}

// checkVerdict tries on a copy of the machine whether what the scheduler says of a node is so.
func checkVerdict(t *testing.T, seed uint64, m *Machine, r Request, f Fit) {
	copied, err := restored(m)
	require.NoError(t, err)
	v := m.View()
	n, _ := v.Node(f.Node)
	var c Command = CreatePod{Name: "new", UID: "u-new", Node: f.Node, Containers: testContainers, Manifest: json.RawMessage(`{}`), Needs: r.Needs}
	needs := r.Needs
	if r.Pod != nil {
		needs = r.Pod.Needs
		c = Reserve{"m-new", r.Pod.Name, r.Pod.Node, f.Node, 0}
	}
	answer := copied.Apply(c)
	moving := r.Pod != nil && (r.Pod.Migration != "" || r.Pod.Deleting)
	if f.Fits {
		require.True(t, answer.OK || moving, "seed %d: %s fits, but: %s", seed, f.Node, answer.Reason)
		require.False(t, n.Cordoned, "seed %d", seed)
		for key, want := range needs.Selector {
			require.Equal(t, want, n.Labels()[key], "seed %d", seed)
		}
		if r.Pod != nil {
			from, _ := v.Node(r.Pod.Node)
			require.Empty(t, needs.Pinned)
			require.NotEqual(t, from.Name, n.Name)
			for _, flag := range from.CPUFlags {
				require.Contains(t, n.CPUFlags, flag, "seed %d", seed)
			}
		}
		return
	}
	// Every reason is true.
	for _, why := range f.Reasons {
		switch {
		case why == "it is cordoned":
			require.True(t, n.Cordoned)
		case strings.HasPrefix(why, "it lacks the label "), strings.HasPrefix(why, "its label "):
			require.False(t, func() bool {
				for key, want := range needs.Selector {
					if n.Labels()[key] != want {
						return false
					}
				}
				return true
			}(), "seed %d: %s", seed, why)
		case strings.HasPrefix(why, "its CPU lacks"):
			from, _ := v.Node(r.Pod.Node)
			require.True(t, slices.ContainsFunc(from.CPUFlags, func(f string) bool { return !slices.Contains(n.CPUFlags, f) }))
		default: // the machine says so too
			require.False(t, answer.OK, "seed %d: %s: %s, but it was committed", seed, f.Node, why)
		}
	}
}

func randomMesh(g *rand.Rand) *Machine {
	m := New()
	m.Apply(SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	flags := []string{"avx", "avx2", "sse4_2"}
	nodes := []string{"a", "b", "c", "d"}[:1+g.IntN(4)]
	for _, name := range nodes {
		n := Node{Name: name, Site: []string{"x", "y"}[g.IntN(2)], CPUFlags: flags[min(2, g.IntN(8)):]}
		if g.IntN(8) > 0 {
			n.Capacity = Resources{CPU: int64(1+g.IntN(8)) * 500, Memory: int64(1+g.IntN(8)) * gib}
		}
		if g.IntN(2) == 0 {
			n.Configured = map[string]string{"disk": []string{"ssd", "hdd"}[g.IntN(2)]}
		}
		m.Apply(RegisterNode{n})
	}
	for i := range g.IntN(8) {
		name := fmt.Sprintf("p%d", i)
		m.Apply(placedAt(nodes[g.IntN(len(nodes))], name, randomNeeds(g)))
		if g.IntN(4) == 0 {
			p, _ := m.View().Pod(name)
			id := "m-" + name
			m.Apply(Reserve{id, name, p.Node, nodes[g.IntN(len(nodes))], 0})
			if record, ok := m.View().Migration(id); ok && g.IntN(2) == 0 {
				m.Apply(Activate{id, record.Target, record.Epoch})
			}
		}
	}
	for _, name := range nodes {
		m.Apply(CordonNode{name, g.IntN(4) == 0})
	}
	return m
}

func randomNeeds(g *rand.Rand) Needs {
	var n Needs
	if g.IntN(2) == 0 {
		n.CPU, n.Memory = int64(g.IntN(10))*250, int64(g.IntN(5))*gib
	}
	if g.IntN(6) == 0 {
		n.Selector = map[string]string{"disk": "ssd"}
	}
	if g.IntN(8) == 0 {
		n.Volumes = []string{"data"}
	}
	if g.IntN(10) == 0 {
		n.Pinned = "hostPath"
	}
	return n
}
