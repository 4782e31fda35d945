package sim

import (
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// arrival has the steps of a target.
func arrival() map[decide.Step]func(*mover, decide.Step) {
	return map[decide.Step]func(*mover, decide.Step){
		decide.Prepare: (*mover).prepare,
		decide.Restore: (*mover).restore,
		decide.Resume:  (*mover).resume,
		decide.Release: (*mover).release,
		decide.Cancel:  (*mover).cancelRestore,
		decide.Discard: (*mover).discard,
		decide.Destroy: (*mover).remove,
		decide.Forget:  (*mover).forgetImages,
	}
}

// arrive begins the arrival of a pod when this node has heard of its move, in a while if need be.
func (a *agent) arrive(m decide.Move, tries int, answer func(failed string)) {
	n := a.n
	g, ok := n.view().Migration(m.ID)
	switch x := a.mover(m.ID + arriving); {
	case !ok && tries == 0:
		answer("the move is not heard of")
		return
	case !ok, x == nil && a.moving(m.UID):
		if tries == 0 {
			answer("what an earlier move left is still being removed")
			return
		}
		n.w.d.timer(n.agent, 250*time.Millisecond, "hearsay", func() { a.arrive(m, tries-1, answer) })
		return
	case g.Phase != state.Reserved || g.Source != m.Source || g.Target != n.name || g.Epoch != m.Epoch || g.UID != m.UID:
		answer("the mesh knows the move otherwise")
		return
	case x != nil:
		answer("it has begun")
		return
	}
	x := a.newMover(m, arriving)
	x.answer = answer
	x.machine = decide.NewTarget(m)
	x.feed(decide.Begin{})
	x.look()
}

// mover finds one end of a move that is under way here.
func (a *agent) mover(file string) *mover {
	for _, x := range a.moves {
		if x.file == file && !x.over {
			return x
		}
	}
	return nil
}

func (x *mover) prepare(step decide.Step) {
	x.agents(step, 5*time.Millisecond, 80*time.Millisecond, func() string {
		failed := ""
		switch {
		case x.copy() != nil:
			failed = "an earlier copy of the pod is still being removed"
		case x.a.n.w.strikes(40):
			failed = "no network namespace could be made"
		}
		if x.answer != nil {
			x.answer(failed)
		}
		return failed
	})
}

// receive takes the images, if they are those that were sent.
func (a *agent) receive(move string, image *checkpoint) {
	x := a.mover(move + arriving)
	switch {
	case x == nil:
		return // the source hears nothing, and gives up
	case image.corrupt:
		a.n.w.seen.add(corrupted)
		a.tellLost(x, "an image has another digest than was sent")
		return
	}
	a.n.host.images[move] = image
	x.feed(decide.Arrived{})
}

// restore brings the pod to life up to CRIU's post-restore hook, where it waits whatever becomes of the agent.
func (x *mover) restore(step decide.Step) {
	n := x.a.n
	if x.move.Leased {
		n.fence.hold(x.move.UID)
	}
	x.hosts(step, 20*time.Millisecond, 700*time.Millisecond, func() string {
		image := n.host.images[x.move.ID]
		switch {
		case image == nil:
			return "there are no images"
		case n.w.strikes(8):
			n.w.seen.add(restoreFailed)
			return "CRIU could not restore"
		case n.host.gate(x.move.ID) != nil || n.host.find(x.move.UID) != nil && n.host.find(x.move.UID).move == x.move.ID:
			return "" // as before
		}
		n.host.add(&copied{uid: x.move.UID, pod: x.move.Pod, move: x.move.ID, epoch: x.move.Epoch, memory: image.memory, life: image.life, gated: true})
		n.w.restored(x.move, image)
		return ""
	})
}

// resume tells the gate to let the pod go. Whether it did is seen only from what is there.
func (x *mover) resume(step decide.Step) {
	n := x.a.n
	pod, _ := n.view().Pod(x.move.Pod)
	if x.move.Leased && !x.a.mayRun(pod) {
		x.agents(step, 0, time.Millisecond, func() string { return "there is no lease" })
		return
	}
	x.hosts(step, time.Millisecond, 120*time.Millisecond, func() string {
		c := n.host.gate(x.move.ID)
		if c == nil {
			return "the pod is gone"
		}
		c.gated = false
		n.host.remember(c.uid, c.epoch)
		if n.w.strikes(40) {
			return "the gate did not answer"
		}
		return ""
	})
}

func (x *mover) release(step decide.Step) {
	x.agents(step, time.Millisecond, 30*time.Millisecond, func() string {
		if x.a.n.w.strikes(20) {
			return "netlink did not answer"
		}
		return ""
	})
}

// cancelRestore kills what was restored, unless it has run.
func (x *mover) cancelRestore(step decide.Step) {
	n := x.a.n
	life := n.agent.life
	n.w.d.timer(n.agent, n.w.d.between(5*time.Millisecond, 100*time.Millisecond), string(step), func() {
		switch c := n.host.find(x.move.UID); {
		case n.agent.life != life:
		case n.w.strikes(15):
			x.feed(decide.Failed{Step: step, Why: "the runtime did not answer"})
		case c != nil && c.move == x.move.ID:
			n.w.seen.add(foundRunning)
			x.feed(decide.Ran{Step: step})
		default:
			if c := n.host.gate(x.move.ID); c != nil {
				n.host.drop(c)
			}
			x.feed(decide.Done{Step: step})
		}
	})
}

// discard removes all that has arrived.
func (x *mover) discard(step decide.Step) {
	n := x.a.n
	n.w.d.timer(n.agent, n.w.d.between(5*time.Millisecond, 100*time.Millisecond), string(step), func() {
		switch c := n.host.find(x.move.UID); {
		case n.w.strikes(15):
			x.feed(decide.Failed{Step: step, Why: "a mount was busy"})
		case c != nil && c.move == x.move.ID:
			x.feed(decide.Ran{Step: step})
		default:
			x.sweep()
			x.feed(decide.Done{Step: step})
		}
	})
}

// remove destroys the pod, even if it has run.
func (x *mover) remove(step decide.Step) {
	x.agents(step, 5*time.Millisecond, 100*time.Millisecond, func() string {
		if c := x.copy(); c != nil && c.move == x.move.ID {
			x.a.destroy(c, "another node owns it")
		}
		x.sweep()
		return ""
	})
}

// sweep removes what waits at the gate, and the images.
func (x *mover) sweep() {
	h := x.a.n.host
	if c := h.gate(x.move.ID); c != nil {
		h.drop(c)
	}
	delete(h.images, x.move.ID)
}

func (x *mover) forgetImages(step decide.Step) {
	x.agents(step, time.Millisecond, 10*time.Millisecond, func() string {
		delete(x.a.n.host.images, x.move.ID)
		return ""
	})
}

// tell lets the source hear of a milestone, if it listens and the link holds.
func (x *mover) tell(t decide.Tell) {
	n, move := x.a.n, x.move
	n.w.net.send(n, x.peer, often, string(t.Milestone)+" "+move.ID, func() {
		s := x.peer.mind.mover(move.ID + departing)
		switch {
		case s == nil:
		case t.Milestone == decide.GaveUp:
			s.feed(decide.Lost{Why: t.Why})
		default:
			s.listen()
			s.feed(decide.Reached{Milestone: t.Milestone})
		}
	})
}

// tellLost lets the source know that the target hears nothing more of it.
func (a *agent) tellLost(x *mover, why string) {
	move, peer := x.move.ID, x.peer
	a.n.w.net.send(a.n, peer, once, "the stream broke", func() {
		if s := peer.mind.mover(move + departing); s != nil {
			s.feed(decide.Lost{Why: why})
		}
	})
}
