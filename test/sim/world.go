package sim

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/drover-mesh/drover/state"
)

// A world is a mesh with its hosts and the clients of its pods.
type world struct {
	d       *driver
	net     *network
	log     *log
	nodes   []*node
	clients []*client
	outside *process // people, clients and misfortune
	seen    rarities
	moves   int
	healed  bool
	pace    time.Duration // the longest time between two faults

	// What is remembered for the sake of the rules.
	leased   map[string]bool   // pods that others may take over, by UID
	epochs   map[string]uint64 // by UID, the latest
	owners   map[owned]string
	frozen   map[string]memory // by move
	reported map[string]bool   // pods of which people were told that nothing is left
	broken   *Violation        // the first
}

// A Violation is a rule that did not hold.
type Violation struct {
	Rule string        `json:"rule"`
	What string        `json:"what"`
	At   time.Duration `json:"at_ns"` // of virtual time
}

func newWorld(seed uint64, keep bool, names []string, servers int) *world {
	w := &world{
		d: newDriver(seed, keep), seen: rarities{}, outside: &process{name: "outside"},
		leased: map[string]bool{}, epochs: map[string]uint64{}, owners: map[owned]string{}, frozen: map[string]memory{}, reported: map[string]bool{},
	}
	w.net = newNetwork(w.d, w.seen)
	for _, name := range names {
		w.nodes = append(w.nodes, newNode(w, name))
	}
	w.log = newLog(w, w.nodes[:servers])
	w.pace = []time.Duration{2, 6, 20}[w.d.IntN(3)] * time.Second
	return w
}

func (w *world) node(name string) *node {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// violated notes that a rule did not hold. The first counts: what follows may be its consequence.
func (w *world) violated(rule, format string, args ...any) {
	if w.broken == nil {
		w.broken = &Violation{Rule: rule, What: fmt.Sprintf(format, args...), At: w.d.now}
		w.d.trace.note("VIOLATION of %q: %s", rule, w.broken.What)
	}
}

// faulty says whether faults still strike.
func (w *world) faulty() bool { return !w.healed }

// found fills the mesh with nodes and pods, as it is before anything goes wrong.
func (w *world) found(pods int) {
	commands := []state.Command{state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), ID: "sim"}}
	for i, n := range w.nodes {
		commands = append(commands, state.RegisterNode{Node: state.Node{Name: n.name, Site: n.name, Server: i < len(w.log.voters)}})
	}
	for i := range pods {
		pod := state.CreatePod{
			Name: fmt.Sprintf("pod-%d", i), UID: fmt.Sprintf("u-%d", i), Node: w.nodes[w.d.IntN(len(w.nodes))].name, Created: wallBegin,
			Containers: []state.Container{{Name: "main", Layers: []state.Digest{state.Digest("sha256:" + strings.Repeat("00", 32))}}},
			Manifest:   json.RawMessage("{}"),
		}
		if w.d.IntN(3) > 0 {
			pod.Failover = state.FailoverRestart
		}
		w.leased[pod.UID] = pod.Failover != state.FailoverNone
		commands = append(commands, pod)
		w.clients = append(w.clients, &client{w: w, pod: pod.Name, uid: pod.UID, input: uint64(i) << 32})
	}
	for i, c := range commands {
		w.log.settle(fmt.Sprintf("found-%d", i), c)
	}
}

// live begins everything.
func (w *world) live() {
	for _, n := range w.nodes {
		n.index = uint64(len(w.log.views) - 1)
		n.begin()
	}
	for _, c := range w.clients {
		c.ask()
	}
	w.trouble()
	w.operate()
	w.d.after = w.check
}

// heal puts everything right, and lets nothing go wrong any more.
func (w *world) heal() {
	w.healed, w.net.tame = true, true
	clear(w.net.cuts)
	w.d.trace.note("everything is put right")
	for _, n := range w.nodes {
		n.host.disk.full = false
		n.stall = 0
		w.wake(n)
		w.revive(n)
	}
}
