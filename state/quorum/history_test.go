package quorum

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// TestSyncIsLinear has one who commands and one who looks, while links are cut and leaders change: who has synced sees
// all that was answered before.
func TestSyncIsLinear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, steady(), append([]string{plain}, servers...)...)
		m.found(m.leader(servers...))
		var done atomic.Int64
		more := make(chan struct{}, 1) // bounds how much is written
		ended := make(chan error, 1)
		go func() {
			defer close(ended)
			for range more {
				i := done.Load() + 1
				_, err := m.nodes["ams"].Propose(m.ctx(), state.RegisterNode{Node: state.Node{Name: "x", Site: "s", Version: fmt.Sprint(i)}})
				if err != nil {
					ended <- err
					return
				}
				done.Store(i)
			}
		}()
		look := func() {
			select {
			case more <- struct{}{}:
			default:
			}
			before := done.Load()
			require.NoError(t, m.nodes[plain].Sync(m.ctx()))
			n, _ := m.nodes[plain].View().Node("x")
			var seen int64
			_, _ = fmt.Sscan(n.Version, &seen)
			require.GreaterOrEqual(t, seen, before, "an older state than was answered before Sync")
		}
		for name, fault := range map[string]func(leader string){
			"cut from the leader":      func(leader string) { m.net.set(plain, leader, true) },
			"the leader is cut off":    func(leader string) { m.net.isolate(leader, append(servers, plain), true) },
			"a follower is cut off":    func(leader string) { m.net.isolate(others(leader)[0], append(servers, plain), true) },
			"one server is left to it": func(leader string) { m.net.isolate(plain, others(others(leader)[0]), true) },
		} {
			before := done.Load()
			fault(m.leader(servers...))
			for range 20 {
				look()
			}
			m.net.heal()
			for range 50 {
				look()
			}
			t.Logf("%s: %d commands", name, done.Load()-before)
		}
		close(more)
		require.NoError(t, <-ended)
		require.Positive(t, done.Load())
		m.agree(append([]string{plain}, servers...)...)
	})
}

// TestAnotherHistory has the mesh lose its newest commands, as one may that is recovered from the loss of its majority.
func TestAnotherHistory(t *testing.T) {
	for name, commands := range map[string]int{"shorter": 0, "longer": 40} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 0, quick(), append([]string{plain}, servers...)...)
				m.found(m.leader(servers...))
				m.agree(append([]string{plain}, servers...)...)
				older := t.TempDir()
				for _, s := range servers {
					m.kill(s)
					require.NoError(t, os.CopyFS(filepath.Join(older, s), os.DirFS(m.dirs[s])))
				}
				for _, s := range servers {
					m.open(s)
				}
				m.fill(m.leader(servers...), 20, 10)
				require.NoError(t, m.nodes[plain].Sync(m.ctx()))
				lost := m.nodes[plain].View().Index()
				for _, s := range servers {
					m.kill(s)
					m.dirs[s] = filepath.Join(older, s)
				}
				m.net.isolate(plain, servers, true)
				for _, s := range servers {
					m.open(s)
				}
				m.propose(m.leader(servers...), register("other", false))
				m.fill("ams", commands, 10)
				if commands == 0 {
					require.Less(t, m.nodes["ams"].View().Index(), lost)
				}
				m.net.heal()
				_, err := m.nodes[plain].Await(m.ctx(), func(v state.View) bool { _, ok := v.Node("other"); return ok })
				require.NoError(t, err)
				m.agree(append([]string{plain}, servers...)...)
				require.True(t, m.propose(plain, register(plain, false)).OK)
			})
		})
	}
}

// TestAnotherMesh has all servers begin anew, on new disks: who knows of pods doesn't believe that there are none.
func TestAnotherMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), append([]string{plain}, servers...)...)
		m.found(m.leader(servers...))
		require.NoError(t, m.nodes[plain].Sync(m.ctx()))
		m.net.isolate(plain, servers, true) // else it would tell that there is a mesh
		for _, s := range servers {
			m.kill(s)
			m.lose(s)
		}
		m.net.isolate(plain, servers, true)
		for _, s := range servers {
			m.open(s)
		}
		m.fill(m.leader(servers...), 1, 10)
		m.net.heal()
		complains := func() bool { return m.nodes[plain].Status().Waiting == anotherMesh }
		require.Eventually(t, complains, time.Minute, time.Millisecond)
		require.Len(t, m.nodes[plain].View().Pods(), 1)
		m.propose(m.leader(servers...), state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), ID: newID()})
		m.fill(m.leader(servers...), 30, 10) // farther than the old one
		require.Eventually(t, complains, time.Minute, time.Millisecond)
		require.Len(t, m.nodes[plain].View().Pods(), 1)
		ctx, cancel := contextWithTimeout(m, 5*time.Second)
		defer cancel()
		_, err := m.nodes[plain].Propose(ctx, register(plain, false))
		require.Error(t, err)
		require.NoError(t, m.nodes["ams"].Sync(m.ctx()))
		_, ok := m.nodes["ams"].View().Node(plain)
		require.False(t, ok)

		m.stop(plain)
		m.open(plain)
		require.True(t, m.propose(plain, register(plain, false)).OK)
		require.Empty(t, m.nodes[plain].View().Pods())
		require.Empty(t, m.nodes[plain].Status().Waiting)
	})
}
