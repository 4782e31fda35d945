package quorum

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// churn commits so many commands at a node, by several at once, as a mesh does in months, of three KiB each. They are refused, so that the
// state stays as it is.
func (m *mesh) churn(node string, count int) {
	m.t.Helper()
	const atOnce = 50
	manifest, err := json.Marshal(strings.Repeat("x", 3<<10))
	require.NoError(m.t, err)
	failed := make(chan error, atOnce)
	q, ctx := m.nodes[node], m.ctx()
	for range atOnce {
		go func() {
			for i := range count / atOnce {
				_, err := q.Propose(ctx, state.CreatePod{Name: "big", UID: fmt.Sprint(i), Node: "nowhere", Manifest: manifest})
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range atOnce {
		require.NoError(m.t, <-failed)
	}
}

// held is how many bytes of memory are in use, and of disk by some nodes.
func (m *mesh) held(nodes ...string) (memory, disk int64) {
	for range 3 { // what lies in a sync.Pool goes at the second
		runtime.GC()
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	for _, node := range nodes {
		require.NoError(m.t, filepath.WalkDir(m.dirs[node], func(_ string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				if info, err := e.Info(); err == nil { // else it has gone meanwhile
					disk += info.Size()
				}
			}
			return nil
		}))
	}
	return int64(s.HeapAlloc), disk
}

// TestMemoryAndDiskAreBounded has two hundred watch and never look, another follow and never read, while some
// thousand commands are committed: what that takes is what it took for the first. A server that is given an
// empty disk then gets a snapshot, since the log begins later.
func TestMemoryAndDiskAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), append([]string{plain}, servers...)...)
		leader := m.leader(servers...)
		m.found(leader)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for range 100 {
			m.nodes[leader].Watch(ctx)
			m.nodes[plain].Watch(ctx)
		}
		settle := func(commands int) (memory, disk int64) {
			deaf, err := m.net.dial("deaf")(ctx, leader, Follow)
			require.NoError(t, err)
			require.NoError(t, writeMessage(deaf, frameHello, hello{Node: "deaf"}))
			m.churn(leader, commands)
			<-time.After(3 * time.Minute) // raft.Config.SnapshotInterval, and as much again at random
			m.agree(append([]string{plain}, servers...)...)
			require.NoError(t, deaf.Close())
			return m.held(servers...)
		}
		settle(800)
		memory, disk := settle(600)
		memoryNow, diskNow := settle(1200)
		t.Logf("memory %d KiB, disk %d KiB", memoryNow>>10, diskNow>>10)
		require.Less(t, memoryNow, memory+8<<20, "bytes of memory")
		require.LessOrEqual(t, diskNow, disk+2*3*segmentSize, "bytes of disk")

		for _, node := range servers { // until a restart raft-wal may still have entries that were compacted
			m.kill(node)
			m.open(node)
		}
		node := others(m.leader(servers...))[0]
		m.kill(node)
		m.lose(node)
		m.open(node)
		require.Eventually(t, func() bool { return m.nodes[node].Status().Role == "follower" }, time.Minute, 5*time.Millisecond)
		m.agree(append([]string{plain}, servers...)...)
		first, err := m.nodes[node].seat.Load().disk.FirstIndex()
		require.NoError(t, err)
		require.Greater(t, first, uint64(800), "it was given the whole log")
	})
}

// TestAPlainNodeSurvivesTheLossOfAnyServer loses each server in turn, by its death and by a cut, whether it leads, is followed,
// or neither: the plain node hears of what is committed and commits, within some seconds.
func TestAPlainNodeSurvivesTheLossOfAnyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 25*time.Millisecond, wan(), append([]string{plain}, servers...)...)
		m.found(m.leader(servers...))
		all := append([]string{plain}, servers...)
		for _, how := range []string{"dies", "is cut off", "stops"} {
			for _, node := range servers {
				m.agree(all...)
				role := m.nodes[node].Status().Role
				switch how {
				case "dies":
					m.kill(node)
				case "is cut off":
					m.net.isolate(node, all, true)
				default:
					m.stop(node)
				}
				lost := time.Now()
				r := m.propose(plain, register("x", false))
				require.True(t, r.OK, r.Reason)
				took := time.Since(lost)
				t.Logf("%s, %s, %s: a proposal took %v", node, role, how, took.Round(time.Millisecond))
				require.Less(t, took, 10*time.Second)
				index := m.nodes[plain].View().Index()
				m.propose(m.leader(others(node)...), register("y", false))
				require.NoError(t, m.nodes[plain].reached(m.ctx(), index+1), "what others commit")
				require.NoError(t, m.nodes[plain].Sync(m.ctx()))
				require.Len(t, m.nodes[plain].View().Pods(), 1)
				m.net.heal()
				if m.nodes[node] == nil {
					m.open(node)
				}
				m.leader(servers...)
			}
		}
	})
}
