package quorum

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// quick suits a round trip of some milliseconds, so that elections in tests take tenths of seconds.
func quick() timing {
	return timing{
		heartbeat: 250 * time.Millisecond, election: 250 * time.Millisecond, lease: 200 * time.Millisecond,
		commit: 10 * time.Millisecond, rpc: 400 * time.Millisecond,
		hedge: 100 * time.Millisecond, retry: 20 * time.Millisecond,
	}
}

// steady is quick with a patience that a busy machine doesn't try.
func steady() timing {
	t := quick()
	t.heartbeat, t.election, t.lease = time.Second, time.Second, time.Second
	return t
}

// A mesh is some quorums on a memnet.
type mesh struct {
	t      testing.TB
	net    *memnet
	timing timing
	first  []string // the servers that begin it
	dirs   map[string]string
	roles  map[string]bool // is it a server?
	nodes  map[string]*Quorum
	dead   time.Duration            // Config.DeadAfter
	leases map[string]time.Duration // Config.Lease
	clocks map[string]*clock
}

// servers are those of most tests. Other nodes are plain, unless a test says otherwise.
var servers = []string{"ams", "fra", "nyc"}

func newMesh(t testing.TB, delay time.Duration, timing timing, nodes ...string) *mesh {
	m := emptyMesh(t, delay, timing, servers...)
	for _, node := range nodes {
		m.open(node)
	}
	return m
}

func emptyMesh(t testing.TB, delay time.Duration, timing timing, first ...string) *mesh {
	checkGoroutines(t)
	m := &mesh{
		t: t, net: newMemnet(delay), timing: timing, first: first,
		dirs: map[string]string{}, roles: map[string]bool{}, nodes: map[string]*Quorum{},
		leases: map[string]time.Duration{}, clocks: map[string]*clock{},
	}
	for _, s := range first {
		m.roles[s] = true
	}
	t.Cleanup(m.close)
	return m
}

func (m *mesh) config(node string) Config {
	if m.dirs[node] == "" {
		m.dirs[node] = m.t.TempDir()
	}
	cfg := Config{
		Node: node, Dir: m.dirs[node], Server: m.roles[node], Log: testLog(node), timing: m.timing, DeadAfter: m.dead,
		Lease: m.leases[node], Clock: m.clock(node).read,
		Dial: m.net.dial(node), Listen: m.net.listen(node), Forward: m.net.forward(node),
	}
	for _, s := range m.first {
		cfg.Bootstrap = append(cfg.Bootstrap, Server{s})
	}
	return cfg
}

func (m *mesh) open(node string) *Quorum { return m.openAs(node, m.config(node)) }

func (m *mesh) openAs(node string, cfg Config) *Quorum {
	q, err := Open(m.ctx(), cfg)
	require.NoError(m.t, err)
	m.net.mu.Lock()
	m.net.quorums[node] = q
	m.net.mu.Unlock()
	m.nodes[node] = q
	return q
}

func (m *mesh) stop(node string) {
	m.net.mu.Lock()
	delete(m.net.quorums, node)
	m.net.mu.Unlock()
	q := m.nodes[node]
	delete(m.nodes, node)
	closed := make(chan error, 1)
	go func() { closed <- q.Close() }()
	select {
	case err := <-closed:
		require.NoError(m.t, err)
	case <-m.ctx().Done():
		stacks := make([]byte, 1<<20)
		m.t.Fatalf("closing %s hangs:\n%s", node, stacks[:runtime.Stack(stacks, true)])
	}
}

// up are the servers that run.
func (m *mesh) up() (up []string) {
	for node := range m.nodes {
		if m.roles[node] {
			up = append(up, node)
		}
	}
	return up
}

// kill stops a node without its saying good-bye to anybody, and then puts its links right again.
func (m *mesh) kill(node string) {
	m.net.isolate(node, m.names(), true)
	m.stop(node)
	m.net.isolate(node, m.names(), false)
}

// names are those of all nodes that ever were.
func (m *mesh) names() []string { return slices.Collect(maps.Keys(m.dirs)) }

func (m *mesh) close() {
	for node := range m.nodes {
		m.net.isolate(node, m.names(), false)
	}
	for node := range m.nodes {
		m.stop(node)
	}
}

// ctx bounds every wait of a test.
func (m *mesh) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	m.t.Cleanup(cancel)
	return ctx
}

func contextWithTimeout(m *mesh, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(m.ctx(), d)
}

// leader waits until all of the nodes agree on a leader among them.
func (m *mesh) leader(among ...string) string {
	m.t.Helper()
	var leader string
	require.Eventually(m.t, func() bool {
		leader = m.nodes[among[0]].Leader()
		ok := false
		for _, node := range among {
			if m.nodes[node].Leader() != leader {
				return false
			}
			ok = ok || node == leader
		}
		return ok && m.nodes[leader].Status().Role == "leader"
	}, 20*time.Second, 5*time.Millisecond)
	return leader
}

func (m *mesh) propose(node string, c state.Command) state.Result {
	m.t.Helper()
	r, err := m.nodes[node].Propose(m.ctx(), c)
	require.NoError(m.t, err)
	return r
}

// found makes the mesh's first records through one node.
func (m *mesh) found(node string) {
	m.t.Helper()
	commands := []state.Command{state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), ID: newID()}}
	for _, s := range servers {
		commands = append(commands, register(s, true))
	}
	commands = append(commands, create("redis", "u-1"))
	for _, c := range commands {
		r := m.propose(node, c)
		require.True(m.t, r.OK, r.Reason)
	}
}

func create(name, uid string) state.CreatePod {
	layer := state.Digest("sha256:" + strings.Repeat("0123456789abcdef", 4))
	return state.CreatePod{
		Name: name, UID: uid, Node: "ams", Created: time.Unix(1, 0),
		Containers: []state.Container{{Name: "main", Layers: []state.Digest{layer}}}, Manifest: json.RawMessage(`{"a":"<&>"}`),
	}
}

func register(node string, server bool) state.RegisterNode {
	return state.RegisterNode{Node: state.Node{Name: node, Site: "site-" + node, Server: server}}
}

// others returns the servers without those given.
func others(without ...string) (left []string) {
	for _, s := range servers {
		if !strings.Contains(strings.Join(without, " "), s) {
			left = append(left, s)
		}
	}
	return left
}

func testLog(node string) *slog.Logger {
	out := io.Discard
	if os.Getenv("QUORUM_LOG") != "" {
		out = os.Stderr
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", node)
}

// checkGoroutines fails the test if, after everything is closed, a goroutine is left in code of this
// package's or of raft's.
func checkGoroutines(t testing.TB) {
	t.Cleanup(func() {
		var left string
		for range 200 {
			buffer := make([]byte, 1<<20)
			left = ""
			for _, g := range strings.Split(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
				if strings.Contains(g, "hashicorp/raft") || strings.Contains(g, "quorum.(*") {
					if !strings.Contains(g, "checkGoroutines") {
						left = g
					}
				}
			}
			if left == "" {
				return
			}
			<-time.After(10 * time.Millisecond)
		}
		t.Errorf("a goroutine is left:\n%s", left)
	})
}
