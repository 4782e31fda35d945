package sim

import (
	"time"

	"github.com/drover-mesh/drover/state"
)

// A node is a host with an agent and a fence. The three die apart from each other.
type node struct {
	w     *world
	name  string
	host  *host
	agent *process
	fence *fence
	mind  *agent        // of the agent that lives; nil of a bare node
	index uint64        // of the view that this node has
	stall time.Duration // until when it hears of nothing that is committed
}

func newNode(w *world, name string) *node {
	d := w.d
	n := &node{w: w, name: name}
	// Any two clocks differ by less than the tenth that a lease allows for.
	n.host = &host{name: name, clock: clock{d: d, rate: 1 + (d.Float64()-0.5)*0.09}, up: true, images: map[string]*checkpoint{}, mutes: map[string]time.Duration{}, stopped: map[string]bool{}}
	n.host.kernel = &process{name: name + "/kernel", host: n.host}
	n.agent = &process{name: name, host: n.host}
	n.fence = newFence(n)
	return n
}

// alive says that the agent executes.
func (n *node) alive() bool { return !n.agent.dead && n.host.awake() }

// view is what the node has heard of the committed state.
func (n *node) view() state.View { return n.w.log.views[n.index] }

// hear brings the node's view forward.
func (n *node) hear(index uint64) {
	if index <= n.index || n.w.d.now < n.stall {
		return
	}
	n.index = index
	if n.mind != nil {
		n.mind.changed()
	}
}
