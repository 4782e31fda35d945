package quorum

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/drover-mesh/drover/state"
)

// An intent is what a node wants of Raft's configuration.
type intent int

const (
	restart intent = iota + 1 // out: a server of that name that has lost its memory
	leave                     // out: a server that has become plain
	enter                     // in, without a vote
	vote                      // a vote: it has caught up
)

// trailing is how many entries a server may lack and be taken to have caught up.
const trailing = 64

// joining is a server that wants a vote, as it describes itself.
type joining struct {
	Node string `json:"node"`
	// Blank says that it remembers nothing, and runs no Raft.
	Blank bool `json:"blank,omitempty"`
	// Term and Applied say how far its log has come.
	Term    uint64 `json:"term,omitempty"`
	Applied uint64 `json:"applied,omitempty"`
}

// A roster is what a server has heard of those who want to be in Raft's configuration, or out of it. Every leader
// begins with its own: who wants something says so until it has it.
type roster struct {
	news chan struct{} // somebody has said something

	mu      sync.Mutex
	intents map[string]intent
	said    map[string]time.Time
	ready   map[string]time.Time // since when it has caught up
	down    map[string]time.Time // since when it doesn't answer this leader
}

func newRoster() *roster {
	return &roster{
		news: make(chan struct{}, 1), intents: map[string]intent{}, said: map[string]time.Time{},
		ready: map[string]time.Time{}, down: map[string]time.Time{},
	}
}

// hear notes what a node wants.
func (r *roster) hear(node string, i intent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intents[node], r.said[node] = i, time.Now()
	if _, was := r.ready[node]; i != vote {
		delete(r.ready, node)
	} else if !was {
		r.ready[node] = time.Now()
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// answers notes whether a node answers this leader.
func (r *roster) answers(node string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, was := r.down[node]; ok {
		delete(r.down, node)
	} else if !was {
		r.down[node] = time.Now()
	}
}

// lead begins to notice who answers.
func (r *roster) lead() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.down)
}

// terms are the times that a leader's decisions depend on.
type terms struct {
	lately time.Duration // an intent is forgotten when it is older
	steady time.Duration // for as long a server keeps up before it votes: one that comes and goes would cost elections
	dead   time.Duration // for as long a server doesn't answer before it is taken to be dead; 0 is for ever
}

// agenda is what the leader decides upon.
func (r *roster) agenda(self string, v state.View, m members, t terms) agenda {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := agenda{
		self: self, members: m, in: map[string]intent{}, out: map[string]string{},
		down: map[string]bool{}, dead: map[string]string{},
	}
	for node, since := range r.down {
		a.down[node] = true
		if t.dead > 0 && time.Since(since) >= t.dead {
			a.dead[node] = fmt.Sprintf("it has not answered for %v", t.dead)
		}
	}
	for _, node := range slices.Concat(m.voters, m.joining) {
		if e, ok := v.Enrolment(node); ok && e.Removed {
			a.out[node] = "it was removed from the mesh"
		}
	}
	for node, i := range r.intents {
		n, _ := v.Node(node)
		switch {
		case time.Since(r.said[node]) > t.lately:
			delete(r.intents, node)
			delete(r.ready, node)
		case i == restart && a.down[node]: // it runs no Raft; a word of long ago, that comes late, does no harm
			a.out[node] = "it has lost its log"
		case i == leave && !n.Server:
			a.out[node] = "it is a plain node now"
		case (i == enter || i == vote) && n.Server:
			if a.in[node] = i; i == vote && r.said[node].Sub(r.ready[node]) < t.steady {
				a.in[node] = enter
			}
		}
	}
	return a
}
