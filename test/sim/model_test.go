package sim

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// allowed is what a log may do to those who use it. Both the model and hashicorp/raft do all of it.
var allowed = []string{
	"applied after its proposer gave up", "applied, and the answer was lost", "never applied", "refused", "twice in the log",
	"activated", "aborted", "a node lags behind", "leaders changed",
}

// races is how many moves are raced for in a history.
const races = 12

// setting are the commands that come before the races.
func setting(names []string) []state.Command {
	all := []state.Command{state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), ID: "sim"}}
	for _, name := range names {
		all = append(all, state.RegisterNode{Node: state.Node{Name: name, Site: name, Server: true}})
	}
	for i := range races {
		all = append(all, state.CreatePod{
			Name: fmt.Sprintf("pod-%d", i), UID: fmt.Sprintf("u-%d", i), Node: names[0], Created: time.Unix(1, 0),
			Containers: []state.Container{{Name: "main", Layers: []state.Digest{state.Digest("sha256:" + strings.Repeat("00", 32))}}},
			Manifest:   json.RawMessage("{}"),
		})
		all = append(all, state.Reserve{Migration: fmt.Sprintf("m-%d", i), Pod: fmt.Sprintf("pod-%d", i), Source: names[0], Target: names[1]})
	}
	return all
}

// race are the commands that decide about a move.
func race(i int, names []string) (activate, abort state.Command) {
	id := fmt.Sprintf("m-%d", i)
	return state.Activate{Migration: id, Node: names[1], Epoch: 2}, state.Abort{Migration: id, UID: fmt.Sprintf("u-%d", i), Epoch: 2, Reason: "race"}
}

// ofTheModel lets the model of the log serve races under faults.
func ofTheModel(seed uint64) *history {
	names := []string{"ams", "fra", "nyc"}
	w := newWorld(seed, false, names, 3)
	h := &history{nodes: make([][]logged, 3)}
	w.d.run(5 * time.Second) // a leader
	for i, c := range setting(names) {
		id := fmt.Sprintf("set-%d", i)
		w.log.machine.ApplyOnce(id, c)
		w.log.views = append(w.log.views, w.log.machine.View())
		w.log.history = append(w.log.history, committed{ID: id, Result: state.Result{OK: true}, Term: w.log.term})
	}
	ask := func(n *node, c state.Command) {
		a := &asked{command: c, from: w.d.now}
		h.asked = append(h.asked, a)
		w.log.propose(n, c, w.d.between(500*time.Millisecond, 4*time.Second), func(r state.Result, known bool) {
			a.to, a.answered, a.ok = w.d.now, known, r.OK
		})
		a.id = fmt.Sprintf("p-%d", w.log.proposed)
	}
	for i := range races {
		w.d.run(w.d.now + w.d.between(0, 3*time.Second))
		a, b := w.nodes[w.d.IntN(3)], w.nodes[w.d.IntN(3)]
		if w.d.oneIn(2) {
			w.net.cut(a.name, w.nodes[w.d.IntN(3)].name, true)
		}
		activate, abort := race(i, names)
		ask(a, activate)
		w.d.run(w.d.now + w.d.between(0, 300*time.Millisecond))
		ask(b, abort)
		w.d.run(w.d.now + w.d.between(0, 3*time.Second))
		if w.d.oneIn(2) {
			clear(w.net.cuts)
		}
	}
	clear(w.net.cuts)
	w.d.run(w.d.now + 50*time.Second)
	for i, n := range w.nodes {
		for _, c := range w.log.history[:n.index] {
			h.nodes[i] = append(h.nodes[i], logged{c.ID, c.Result.OK, c.Term, c.At})
		}
	}
	return h
}

func TestTheModelKeepsTheRules(t *testing.T) {
	count := map[string]int{}
	for seed := range uint64(400) {
		h := ofTheModel(seed)
		require.NoError(t, h.check(), "seed %d", seed)
		h.features(count)
	}
	t.Log(count)
	for _, what := range allowed {
		require.Positive(t, count[what], "the model never shows: %s", what)
	}
}
