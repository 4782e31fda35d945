package sim

import (
	"fmt"
	"time"

	"github.com/drover-mesh/drover/state"
)

// A proposal is a command on its way, as its proposer sees it.
type proposal struct {
	id       string
	by       *node
	life     int // of the proposer's agent
	command  state.Command
	slow     bool // it is stuck on its way, each time that it is sent, and goes on though its proposer dies
	answered bool
	gaveUp   bool
	applied  bool
}

// propose has a command committed, under one ID however often it is sent. done hears of the answer, or, after patience,
// that the outcome is unknown. It hears nothing if the agent dies.
func (l *log) propose(n *node, c state.Command, patience time.Duration, done func(r state.Result, known bool)) {
	l.proposed++
	p := &proposal{id: fmt.Sprintf("p-%d", l.proposed), by: n, life: n.agent.life, command: c, slow: l.w.strikes(slowness(c))}
	l.proposals[p.id] = p
	var try func()
	try = func() {
		if p.answered || p.gaveUp {
			return
		}
		l.travel(p, func(r state.Result, index uint64) {
			if p.answered || p.gaveUp || n.agent.life != p.life {
				return
			}
			p.answered = true
			n.hear(index)
			done(r, true)
		})
		l.w.d.timer(n.agent, l.w.d.between(400*time.Millisecond, time.Second), "propose again", try)
	}
	try()
	l.w.d.timer(n.agent, patience, "patience ends", func() {
		if p.answered {
			return
		}
		p.gaveUp = true
		l.w.seen.add(unknownOutcome)
		l.w.d.trace.note("%s never heard of %s (%s)", n.name, p.id, c.Kind())
		done(state.Result{}, false)
	})
}

// slowness is once in how many a proposal is slow: more often one that gives a pod back, which must not come after its proposer
// has changed its mind.
func slowness(c state.Command) int {
	if c.Kind() == state.KindReturn {
		return 2
	}
	return 10
}

// travel submits a proposal, now or when it is through with what holds it up.
func (l *log) travel(p *proposal, answer func(r state.Result, index uint64)) {
	if !p.slow {
		l.submit(p, answer)
		return
	}
	l.w.d.post(l.clerk, l.w.d.between(500*time.Millisecond, 8*time.Second), "slow proposal "+p.id, func() { l.submit(p, answer) })
}

// submit sends a proposal to whoever its node takes for the leader, directly or by way of another server.
func (l *log) submit(p *proposal, answer func(r state.Result, index uint64)) {
	r := l.believed()
	if r == nil {
		return
	}
	via := r.at
	if !l.w.net.joined(p.by, via) {
		via = l.relay(p.by, r.at)
	}
	if via == nil {
		return
	}
	l.w.net.send(p.by, via, often, "proposal "+p.id, func() {
		if r.life != r.at.agent.life || r != l.leader && l.leader != nil && l.w.net.joined(r.at, l.leader.at) {
			return // it leads no more, and knows
		}
		l.append(r, p.id, p.command, func(result state.Result) {
			index := l.view().Index() // the node that proposed has heard of as much when it hears the answer
			l.w.net.send(r.at, p.by, once, "answer to "+p.id, func() { answer(result, index) })
		})
	})
}

// believed is the leader that a node believes in: the true one, or one that was.
func (l *log) believed() *reign {
	if n := len(l.tails); n > 0 && (l.leader == nil || l.w.d.oneIn(8)) {
		return l.tails[l.w.d.IntN(n)]
	}
	return l.leader
}

// relay is a server that reaches both.
func (l *log) relay(from, to *node) *node {
	for _, v := range l.voters {
		if v.alive() && l.w.net.joined(from, v) && l.w.net.joined(v, to) {
			return v
		}
	}
	return nil
}

// note follows what became of proposals.
func (l *log) note(id string, r state.Result) {
	p, ok := l.proposals[id]
	if !ok || p.applied {
		if ok {
			l.w.seen.add(appliedAgain)
		}
		return
	}
	p.applied = true
	if (p.gaveUp || p.by.agent.life != p.life) && r.OK {
		l.w.seen.add(lateApply)
	}
}
