package quorum

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// TestLeasesUnderFaults lets links be cut and healed, servers killed and reopened, leadership handed over, clocks jump and run
// slow or fast, by the seed, while failovers go on. A watcher that knows true time makes sure that two nodes may never run the pod,
// nor one before the fence of another has had its time. In the end, with all healed, one may.
func TestLeasesUnderFaults(t *testing.T) {
	seeds := uint64(3)
	if testing.Short() {
		seeds = 1
	}
	moved := 0
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &faults{rand.New(rand.NewPCG(seed, 7)), nil}
				f.m = newMesh(t, time.Duration(1+f.IntN(20))*time.Millisecond, quick(), servers...)
				f.m.populate()
				for _, c := range f.m.clocks {
					c.mu.Lock()
					c.rate, c.start = 0.92+0.16*f.Float64(), time.Now()
					c.mu.Unlock()
				}
				w := f.m.watch("u-pay")
				f.m.failOver()
				for range 60 {
					f.strike()
					sleep(time.Duration(f.IntN(8000)) * time.Millisecond)
				}
				f.mend()
				require.Eventually(t, func() bool { return time.Since(w.lastOf(f.owner())) <= lookEvery }, 2*time.Minute, 10*time.Millisecond)
				moved += len(w.runners()) - 1
			})
		})
	}
	require.Greater(t, moved, int(seeds), "schedules in which no pod ever moved prove nothing")
}

type faults struct {
	*rand.Rand
	m *mesh
}

// owner is who has the pod, as those know it who know most.
func (f *faults) owner() string {
	var latest state.Pod
	for _, q := range f.m.running() {
		if p, _ := q.View().Pod("pay"); p.Epoch > latest.Epoch {
			latest = p
		}
	}
	return latest.Node
}

func (f *faults) any(of []string) string { return of[f.IntN(len(of))] }

// strike makes one fault, or heals all.
func (f *faults) strike() {
	all := slices.Sorted(slices.Values(f.m.names()))
	node := f.any(all)
	if f.IntN(3) == 0 {
		node = f.owner()
	}
	switch f.IntN(10) {
	case 0, 1:
		f.m.net.isolate(node, all, true)
	case 2:
		f.m.net.set(node, f.any(all), true)
	case 3: // with a leader that may not know that it is none any more
		if leader := f.leader(); leader != "" {
			for _, other := range all {
				if other != node {
					f.m.net.set(leader, other, true)
				}
			}
		}
	case 4:
		f.m.clock(node).jump(time.Duration(f.IntN(8))*time.Second, time.Duration(f.IntN(8))*time.Second)
	case 5:
		f.m.clock(node).jump(0, time.Duration(f.IntN(20)-10)*time.Second)
	case 6:
		if leader := f.leader(); leader != "" {
			_ = f.m.nodes[leader].seat.Load().raft.LeadershipTransfer().Error() // it may fail: another fault
		}
	case 7:
		if len(f.m.nodes) == len(all) {
			f.m.net.heal()
			f.m.stop(node)
		}
	default:
		f.mend()
	}
}

// mend heals all links and starts whoever is down.
func (f *faults) mend() {
	f.m.net.heal()
	for _, node := range f.m.names() {
		if f.m.nodes[node] == nil {
			f.m.open(node)
		}
	}
}

// leader is one that says it leads, or "".
func (f *faults) leader() string {
	for node, q := range f.m.running() {
		if q.Status().Role == "leader" {
			return node
		}
	}
	return ""
}
