package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/drover-mesh/drover/state"
)

// A history is what some proposers and some nodes saw of a log: the model's, or hashicorp/raft's.
type history struct {
	asked []*asked
	nodes [][]logged // what each node applied, in its order
}

// asked is a proposal as its proposer saw it.
type asked struct {
	id       string
	command  state.Command
	from, to time.Duration // of virtual time; to is when it was answered, or given up
	answered bool
	ok       bool
}

// logged is an entry that a node applied.
type logged struct {
	id   string
	ok   bool
	term uint64
	at   time.Duration
}

// check says which of the rules that everybody relies on does not hold, or returns nil.
func (h *history) check() error {
	longest := h.longest()
	for i, node := range h.nodes {
		for k, e := range node {
			if e.id != longest[k].id || e.ok != longest[k].ok {
				return fmt.Errorf("order: entry %d is %s (%t) at node %d, and %s (%t) elsewhere", k, e.id, e.ok, i, longest[k].id, longest[k].ok)
			}
		}
	}
	first, outcome := map[string]int{}, map[string]bool{}
	var term uint64
	for k, e := range longest {
		if e.term < term {
			return fmt.Errorf("terms: entry %d is of term %d, after one of term %d", k, e.term, term)
		}
		term = e.term
		if _, again := first[e.id]; !again {
			first[e.id], outcome[e.id] = k, e.ok
		} else if outcome[e.id] != e.ok {
			return fmt.Errorf("once: %s is %t, and was %t before", e.id, e.ok, outcome[e.id])
		}
	}
	if err := h.checkAnswers(longest, first, outcome); err != nil {
		return err
	}
	return h.checkRaces(outcome)
}

// checkAnswers holds the answers against the log: whatever was answered is there, came from there, and what was asked
// after an answer comes after it.
func (h *history) checkAnswers(longest []logged, first map[string]int, outcome map[string]bool) error {
	for _, a := range h.asked {
		k, there := first[a.id]
		switch {
		case !a.answered:
		case !there:
			return fmt.Errorf("durable: %s was answered, and is not in the log", a.id)
		case outcome[a.id] != a.ok:
			return fmt.Errorf("answer: %s was answered %t, and is %t in the log", a.id, a.ok, outcome[a.id])
		case longest[k].at > a.to:
			return fmt.Errorf("answer: %s was answered before it was applied", a.id)
		}
		if there && longest[k].at < a.from {
			return fmt.Errorf("answer: %s was applied before it was asked for", a.id)
		}
		for _, b := range h.asked {
			if l, ok := first[b.id]; there && ok && a.answered && a.to < b.from && l < k {
				return fmt.Errorf("real time: %s was answered before %s was asked, and comes after it", a.id, b.id)
			}
		}
	}
	return nil
}

// checkRaces makes sure that of Activate and Abort of one move at most one ever won.
func (h *history) checkRaces(outcome map[string]bool) error {
	won := map[string]string{}
	for _, a := range h.asked {
		var move string
		switch c := a.command.(type) {
		case state.Activate:
			move = c.Migration
		case state.Abort:
			move = c.Migration
		default:
			continue
		}
		kind := string(a.command.Kind())
		if outcome[a.id] && won[move] != "" && won[move] != kind {
			return fmt.Errorf("first wins: both Activate and Abort of %s won", move)
		}
		if outcome[a.id] {
			won[move] = kind
		}
	}
	return nil
}

// longest is the log as who has most of it has it, with the time at which the first applied each entry.
func (h *history) longest() []logged {
	var longest []logged
	for _, node := range h.nodes {
		if len(node) > len(longest) {
			longest = slices.Clone(node)
		}
	}
	for k := range longest {
		for _, node := range h.nodes {
			if k < len(node) {
				longest[k].at = min(longest[k].at, node[k].at)
			}
		}
	}
	return longest
}

// features counts what a log may do to those who use it.
func (h *history) features(count map[string]int) {
	longest := h.longest()
	when, times, ok := map[string]time.Duration{}, map[string]int{}, map[string]bool{}
	for _, e := range longest {
		if times[e.id]++; times[e.id] == 1 {
			when[e.id], ok[e.id] = e.at, e.ok
		}
	}
	moves := map[string]string{}
	for _, a := range h.asked {
		switch _, there := when[a.id]; {
		case !a.answered && there && when[a.id] > a.to:
			count["applied after its proposer gave up"]++
		case !a.answered && there:
			count["applied, and the answer was lost"]++
		case !a.answered:
			count["never applied"]++
		case !a.ok:
			count["refused"]++
		}
		if times[a.id] > 1 {
			count["twice in the log"]++
		}
		switch c := a.command.(type) {
		case state.Activate:
			if ok[a.id] {
				moves[c.Migration] = "activated"
			}
		case state.Abort:
			if ok[a.id] {
				moves[c.Migration] = "aborted"
			}
		}
	}
	for _, how := range moves {
		count[how]++
	}
	for _, node := range h.nodes {
		if len(node) < len(longest) {
			count["a node lags behind"]++
		}
	}
	if n := len(longest); n > 0 && longest[n-1].term > longest[0].term {
		count["leaders changed"]++
	}
}
