package sim

import (
	"fmt"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// strikes lets something fail once in n times, as long as faults strike at all.
func (w *world) strikes(n int) bool { return w.faulty() && w.d.oneIn(n) }

// trouble lets one thing after another go wrong.
func (w *world) trouble() {
	w.d.timer(w.outside, w.d.between(100*time.Millisecond, w.pace), "trouble", func() {
		if w.healed {
			return
		}
		n := w.nodes[w.d.IntN(len(w.nodes))]
		switch w.d.IntN(14) {
		case 0, 1, 2:
			w.killAgent(n)
		case 3:
			w.loseHost(n)
		case 4, 5:
			w.cutFor(n, w.nodes[w.d.IntN(len(w.nodes))])
		case 6, 7:
			w.isolate(n)
		case 8:
			w.jump(n)
		case 9:
			w.sleep(n, w.d.oneIn(3))
		case 12, 13:
			w.seen.add(viewStalled)
			n.stall = w.d.now + w.d.between(time.Second, 12*time.Second)
		case 10:
			w.killFence(n)
		case 11:
			w.rarer(n)
		}
		w.trouble()
	})
}

// ambush strikes one of the two ends of a move, or their link, at about the moment at which something is done.
func (w *world) ambush(a, b *node, action decide.Action) {
	n := []*node{a, b}[w.d.IntN(2)]
	if returns(action) {
		n = a
	}
	w.d.timer(w.outside, w.d.between(0, 100*time.Millisecond), "ambush", func() {
		switch w.d.IntN(8) {
		case 0, 1, 2:
			w.killAgent(n)
		case 3, 4:
			w.loseHost(n)
		case 5:
			w.isolate(n)
		case 6:
			w.cutFor(a, b)
		case 7:
			w.isolate(n)
			w.killAgent(n)
		}
	})
}

// ambushes says how seldom one is laid at an action: more of them where the outcome is decided.
func ambushes(action decide.Action) int {
	_, proposal := action.(decide.Propose)
	switch {
	case returns(action):
		return 2
	case proposal:
		return 20
	}
	return 60
}

// returns says that an action gives a pod back.
func returns(action decide.Action) bool {
	p, ok := action.(decide.Propose)
	return ok && p.Command.Kind() == state.KindReturn
}

// rarer are faults of which there need not be many.
func (w *world) rarer(n *node) {
	switch w.d.IntN(3) {
	case 0:
		w.fillDisk(n)
	case 1:
		w.log.changeVoters()
	case 2: // the link and the agent at the same time
		w.isolate(n)
		w.killAgent(n)
	}
}

func (w *world) killAgent(n *node) {
	if n.agent.dead {
		return
	}
	w.seen.add(agentDied)
	w.d.trace.note("the agent of %s is killed", n.name)
	n.die()
	away := w.d.between(50*time.Millisecond, 25*time.Second)
	if w.d.oneIn(2) { // as a service manager starts it again
		away = w.d.between(50*time.Millisecond, time.Second)
	}
	w.d.timer(w.outside, away, "agent of "+n.name+" again", func() { w.revive(n) })
}

// die ends a node's agent, and all that only it knew.
func (n *node) die() {
	n.agent.kill()
	n.mind = nil
}

// revive starts what of a node is down.
func (w *world) revive(n *node) {
	if !n.host.up {
		n.host.start()
		n.host.kernel.start()
	}
	if n.agent.dead {
		n.begin()
	}
}

func (w *world) loseHost(n *node) {
	if !n.host.up {
		return
	}
	w.seen.add(hostLost)
	w.d.trace.note("host %s loses its power", n.name)
	if !n.agent.dead {
		n.die()
	}
	if !n.fence.p.dead {
		n.fence.p.kill()
	}
	n.host.kernel.kill()
	n.host.lose()
	w.d.timer(w.outside, w.d.between(2*time.Second, 40*time.Second), n.name+" boots", func() { w.revive(n) })
}

func (w *world) killFence(n *node) {
	if n.fence.p.dead || !n.host.awake() {
		return
	}
	w.seen.add(fenceDied)
	w.d.trace.note("the fence of %s is killed", n.name)
	n.fence.p.kill()
	if w.d.oneIn(2) {
		w.killAgent(n)
	}
}

func (w *world) cutFor(a, b *node) {
	if a == b {
		return
	}
	w.seen.add(linkCut)
	w.d.trace.note("the link between %s and %s is cut", a.name, b.name)
	w.net.cut(a.name, b.name, true)
	w.d.timer(w.outside, w.d.between(200*time.Millisecond, 30*time.Second), "link "+a.name+"-"+b.name+" again", func() { w.net.cut(a.name, b.name, false) })
}

func (w *world) isolate(n *node) {
	for _, other := range w.nodes {
		w.cutFor(n, other)
	}
}

func (w *world) jump(n *node) {
	if !n.host.awake() {
		return
	}
	w.seen.add(clockJumped)
	by := w.d.between(-2*time.Minute, 2*time.Minute)
	w.d.trace.note("wall time of %s jumps by %s", n.name, by)
	n.host.jump += by
	n.fence.look() // a timer of it wakes when the clock is set
	if w.d.oneIn(3) {
		w.d.timer(w.outside, w.d.between(0, 4*time.Second), "pause "+n.name, func() { w.sleep(n, true) })
	}
}

// sleep suspends a host, or pauses it as a hypervisor does: then no clock of it notices, until its wall time is set right. Its
// fence goes on first when it wakes.
func (w *world) sleep(n *node, paused bool) {
	if !n.host.awake() || n.fence.p.dead {
		return
	}
	t := w.d.between(500*time.Millisecond, 30*time.Second)
	if paused {
		w.seen.add(hostPaused)
	} else {
		w.seen.add(hostSlept)
	}
	w.d.trace.note("%s is suspended for %s (paused: %t)", n.name, t, paused)
	n.host.suspend(paused)
	w.d.timer(w.outside, t, n.name+" wakes", func() { w.wake(n) })
}

func (w *world) wake(n *node) {
	if n.host.asleep {
		n.host.rouse()
		n.fence.look()
		w.d.wake(n.host)
	}
}

func (w *world) fillDisk(n *node) {
	w.seen.add(diskFull)
	n.host.disk.full = true
	w.d.timer(w.outside, w.d.between(time.Second, 8*time.Second), "room on "+n.name, func() { n.host.disk.full = false })
}

// operate moves pods about, as people do.
func (w *world) operate() {
	w.d.timer(w.outside, w.d.between(200*time.Millisecond, 3*time.Second), "operate", func() {
		if w.healed {
			return
		}
		c := w.clients[w.d.IntN(len(w.clients))]
		to := w.nodes[w.d.IntN(len(w.nodes))]
		for _, n := range w.nodes {
			if n.mind != nil && n.host.awake() {
				w.begin(n, to, c.pod)
			}
		}
		w.operate()
	})
}

// begin asks a node to move a pod, if it takes itself for its owner and does nothing else to it.
func (w *world) begin(n, to *node, name string) {
	pod, ok := n.view().Pod(name)
	if !ok || pod.Node != n.name || pod.Migration != "" || to == n || !n.mind.synced || n.mind.busy[pod.UID] || n.mind.moving(pod.UID) || n.host.find(pod.UID) == nil {
		return
	}
	w.moves++
	x := n.mind.depart(decide.Move{
		ID: fmt.Sprintf("m-%d", w.moves), Pod: pod.Name, UID: pod.UID, Epoch: pod.Epoch + 1, Source: n.name, Target: to.name, Leased: pod.NeedsLease(),
	})
	if w.d.oneIn(4) {
		w.d.timer(n.agent, w.d.between(0, 2*time.Second), "cancel "+x.move.ID, func() {
			if !x.over {
				w.seen.add(cancelled)
				x.feed(decide.Cancelled{Why: "somebody cancelled the move"})
			}
		})
	}
}
