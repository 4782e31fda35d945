package quorum

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// A clock is a node's two clocks, which a test can set.
type clock struct {
	mu    sync.Mutex
	start time.Time
	rate  float64       // of true time, 0 is 1
	boot  time.Duration // ahead of true time
	wall  time.Duration
}

func (c *clock) read() (boot time.Duration, wall time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	past := time.Since(c.start)
	if c.rate != 0 {
		past = time.Duration(float64(past) * c.rate)
	}
	return past + c.boot, c.start.Add(past + c.wall)
}

func (c *clock) jump(boot, wall time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boot += boot
	c.wall += wall
}

func (m *mesh) clock(node string) *clock {
	if m.clocks[node] == nil {
		m.clocks[node] = &clock{start: time.Now()}
	}
	return m.clocks[node]
}

// runs says whether a node may run a pod by all that it knows: as its agent decides.
func (m *mesh) runs(node string, q *Quorum, uid string) bool {
	v := q.View()
	boot, wall := m.clocks[node].read()
	for _, p := range v.Pods() {
		if p.UID == uid && p.Node == node {
			return q.Lease().Valid(boot, wall, v.Index())
		}
	}
	return false
}

// A witnessing looks at all nodes all the time, knows true time, and fails the test if two may run one pod, or if one may before
// the fence of the one before has had its time.
type witnessing struct {
	m    *mesh
	uid  string
	mu   sync.Mutex
	last map[string]time.Time // when a node could last run the pod
	ran  []string             // by whom it could be run, in turn
}

const lookEvery = 20 * time.Millisecond

// watch begins to look. It ends with the test.
func (m *mesh) watch(uid string) *witnessing {
	w := &witnessing{m: m, uid: uid, last: map[string]time.Time{}}
	m.every(lookEvery, w.look)
	return w
}

// every calls f until the test ends.
func (m *mesh) every(d time.Duration, f func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-stop:
				return
			}
		}
	}()
	m.t.Cleanup(func() { close(stop); <-stopped })
}

func (m *mesh) running() map[string]*Quorum {
	m.net.mu.Lock()
	defer m.net.mu.Unlock()
	return maps.Clone(m.net.quorums)
}

func (w *witnessing) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for node, q := range w.m.running() {
		if !w.m.runs(node, q, w.uid) {
			continue
		}
		for other, at := range w.last {
			if other != node && now.Sub(at) < state.FenceBound {
				w.m.t.Errorf("%s may run pod %s, %s after %s", node, w.uid, now.Sub(at), other)
			}
		}
		w.last[node] = now
		if len(w.ran) == 0 || w.ran[len(w.ran)-1] != node {
			w.ran = append(w.ran, node)
		}
	}
}

// runners returns who could run the pod, in turn.
func (w *witnessing) runners() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.ran)
}

func (w *witnessing) lastOf(node string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[node]
}

// failOver does on every node what agents do, until the test ends.
func (m *mesh) failOver() {
	m.every(100*time.Millisecond, func() {
		for node, q := range m.running() {
			for _, o := range q.FailOver(decide) {
				m.t.Logf("%s: %+v: %v %s %v", node, o.Command, o.Result.OK, o.Result.Reason, o.Err)
			}
		}
	})
}

func decide(v state.View, l state.Loss) []state.Command {
	commands, _ := state.Failovers(v, l)
	return commands
}

// protect makes a pod with a failover policy at a node.
func (m *mesh) protect(name, uid, node, by string) {
	m.t.Helper()
	r := m.propose(by, state.CreatePod{
		Name: name, UID: uid, Node: node, Created: time.Unix(1, 0), Failover: state.FailoverRestart, Manifest: json.RawMessage(`{}`),
		Containers: []state.Container{{Name: "main", Layers: []state.Digest{state.Digest("sha256:" + strings.Repeat("0123456789abcdef", 4))}}},
	})
	require.True(m.t, r.OK, r.Reason)
}

// leased waits until a node may run a pod.
func (m *mesh) leased(node, uid string) {
	m.t.Helper()
	require.Eventually(m.t, func() bool { return m.runs(node, m.nodes[node], uid) }, 40*time.Second, 5*time.Millisecond, node)
}

// leasedMesh is one whose plain node syd owns a pod with a failover policy, and may run it. The node tok is plain too.
func leasedMesh(t *testing.T) (m *mesh, leader string) {
	m = newMesh(t, 2*time.Millisecond, quick(), servers...)
	return m, m.populate()
}

func (m *mesh) populate() (leader string) {
	leader = m.leader(servers...)
	m.found(leader)
	for _, node := range []string{"syd", "tok"} {
		m.join(node, false)
	}
	m.protect("pay", "u-pay", "syd", leader)
	m.leased("syd", "u-pay")
	return leader
}
