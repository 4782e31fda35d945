package sim

import (
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
)

// callPatience is how long a call to a peer may take.
const callPatience = 5 * time.Second

// departure has the steps of a source.
func departure() map[decide.Step]func(*mover, decide.Step) {
	return map[decide.Step]func(*mover, decide.Step){
		decide.Preflight: (*mover).preflight,
		decide.Reserve:   (*mover).askToPrepare,
		decide.Presync:   (*mover).presync,
		decide.Freeze:    (*mover).freeze,
		decide.Final:     (*mover).dump,
		decide.Retire:    (*mover).retire,
		decide.Thaw:      (*mover).thaw,
		decide.Revive:    (*mover).thaw,
	}
}

func (x *mover) preflight(step decide.Step) {
	x.agents(step, 5*time.Millisecond, 50*time.Millisecond, func() string {
		if c := x.copy(); c == nil || !x.a.n.w.runs(x.a.n, c) {
			return "the pod does not run"
		}
		return ""
	})
}

// call asks the other end for something. Its answer, or the lack of one, ends the step.
func (x *mover) call(step decide.Step, what string, serve func(peer *agent, answer func(failed string))) {
	n, over := x.a.n, false
	end := func(failed string) {
		if !over {
			over = true
			x.end(step, failed)
		}
	}
	life := n.agent.life
	n.w.net.send(n, x.peer, once, what, func() {
		serve(x.peer.mind, func(failed string) {
			n.w.net.send(x.peer, n, once, "answer to "+what, func() {
				if n.agent.life == life {
					end(failed)
				}
			})
		})
	})
	n.w.d.timer(n.agent, callPatience, what+" times out", func() { end("no answer from " + x.peer.name) })
}

func (x *mover) askToPrepare(step decide.Step) {
	move := x.move
	x.call(step, "prepare "+move.ID, func(peer *agent, answer func(string)) { peer.arrive(move, 20, answer) })
}

func (x *mover) presync(step decide.Step) {
	x.agents(step, 50*time.Millisecond, 2*time.Second, func() string {
		switch {
		case x.stopping:
			return "it was stopped"
		case x.a.n.w.strikes(40):
			return "the layers could not be sent"
		}
		return ""
	})
}

// freeze stands the pod still by the cgroup freezer, after its packets were diverted.
func (x *mover) freeze(step decide.Step) {
	x.agents(step, 5*time.Millisecond, 40*time.Millisecond, func() string {
		c := x.copy()
		if c == nil {
			return "the pod is gone"
		}
		c.frozen, c.frozenFor = true, x.move.ID
		x.a.n.w.froze(x.move, c)
		if x.a.n.w.strikes(60) {
			return "the freeze took too long"
		}
		return ""
	})
}

// dump has CRIU write down the frozen pod, and sends it. CRIU goes on without the agent.
func (x *mover) dump(step decide.Step) {
	n := x.a.n
	x.hosts(step, 30*time.Millisecond, 400*time.Millisecond, func() string {
		c := x.copy()
		switch {
		case c == nil:
			return "the pod is gone"
		case n.w.strikes(25):
			n.w.seen.add(criuDied)
			return "CRIU was killed"
		case n.agent.dead || x.stopping:
			return "nobody takes the images"
		}
		image := &checkpoint{memory: c.memory, life: c.life, corrupt: n.w.strikes(25)}
		move := x.move
		x.listen()
		n.w.net.send(n, x.peer, once, "images of "+move.ID, func() { x.peer.mind.receive(move.ID, image) })
		return ""
	})
}

// retire destroys the frozen copy.
func (x *mover) retire(step decide.Step) {
	x.agents(step, 5*time.Millisecond, 60*time.Millisecond, func() string {
		n := x.a.n
		if n.w.strikes(10) {
			return "the runtime did not answer"
		}
		if c := x.copy(); c != nil && c.frozenFor == x.move.ID {
			n.w.retired(x.move)
			x.a.destroy(c, "retired")
		}
		return ""
	})
}

// thaw lets the frozen copy go on.
func (x *mover) thaw(step decide.Step) {
	x.agents(step, 5*time.Millisecond, 60*time.Millisecond, func() string {
		n, c := x.a.n, x.copy()
		pod, _ := n.view().Pod(x.move.Pod)
		switch {
		case n.w.strikes(10):
			return "the runtime did not answer"
		case c == nil:
			return "" // its host went down, and whoever looks after pods finds that nothing is left
		case x.move.Leased && !x.a.mayRun(pod):
			return "there is no lease"
		}
		if c.frozen && c.frozenFor == x.move.ID {
			c.frozen, c.epoch = false, max(c.epoch, x.epoch)
			n.host.remember(c.uid, c.epoch)
		}
		if x.move.Leased {
			n.fence.thaw(c.uid)
		}
		return ""
	})
}

// listen waits for a word of the target. A stream on which nothing comes is given up after a while.
func (x *mover) listen() { x.listens = x.a.n.w.d.now + x.a.n.w.d.between(callPatience, 2*callPatience) }
