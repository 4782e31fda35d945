package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// A mover carries out what the machine of one end of a move decides, as the drivers of package migrate do: it writes the
// journal, does the steps on the host, proposes, keeps timers. It decides nothing.
type mover struct {
	a       *agent
	move    decide.Move
	file    string // its journal
	machine interface {
		Handle(decide.Input) []decide.Action
	}
	steps    map[decide.Step]func(*mover, decide.Step)
	timers   map[decide.Timer]int // the latest set of each
	stopping bool
	over     bool
	epoch    uint64 // the latest of the pod that this node heard of while it owned it

	peer   *node // the other end
	seen   decide.Seen
	leased bool

	listens time.Duration       // of a source: until when it waits for the target's next word; 0: it waits for none
	answer  func(failed string) // of a target: to the source that has asked it to prepare; may be nil
}

// The ends of a move, as journals are named after them.
const (
	departing = ".source"
	arriving  = ".target"
)

func (a *agent) newMover(m decide.Move, end string) *mover {
	x := &mover{a: a, move: m, file: m.ID + end, timers: map[decide.Timer]int{}}
	if end == departing {
		x.peer, x.steps = a.n.w.node(m.Target), departure()
	} else {
		x.peer, x.steps = a.n.w.node(m.Source), arrival()
	}
	a.moves = append(a.moves, x)
	return x
}

// depart begins a move away from here.
func (a *agent) depart(m decide.Move) *mover {
	x := a.newMover(m, departing)
	x.machine = decide.NewSource(m)
	x.feed(decide.Begin{})
	x.look()
	return x
}

// recover takes up what an earlier agent has left in its journals.
func (a *agent) recover() {
	for _, f := range slices.Clone(a.n.host.disk.files) {
		if !strings.HasSuffix(f.name, departing) && !strings.HasSuffix(f.name, arriving) {
			continue
		}
		if len(f.lines) == 0 { // the move had not begun
			a.n.host.disk.remove(f.name)
			continue
		}
		m := f.lines[0].(decide.Move)
		var steps []decide.Step
		for _, line := range f.lines[1:] {
			steps = append(steps, line.(decide.Step))
		}
		a.n.w.seen.add(movesTakenUp)
		if end, ok := strings.CutPrefix(f.name, m.ID); ok && end == departing {
			x := a.newMover(m, departing)
			x.machine = decide.RecoverSource(m, steps)
			x.feed(decide.Begin{})
		} else {
			x := a.newMover(m, arriving)
			x.machine = decide.RecoverTarget(m, steps)
			x.feed(decide.Begin{})
		}
	}
}

// moving says whether a move of the pod is under way here.
func (a *agent) moving(uid string) bool {
	return slices.ContainsFunc(a.moves, func(x *mover) bool { return x.move.UID == uid && !x.over })
}

// lookAtMoves tells machines of what this node has heard since.
func (a *agent) lookAtMoves() {
	a.moves = slices.DeleteFunc(a.moves, func(x *mover) bool { return x.over })
	for _, x := range slices.Clone(a.moves) {
		x.look()
	}
}

// look tells the machine of the lease and of the view, if they have changed.
func (x *mover) look() {
	v := x.a.n.view()
	pod, known := v.Pod(x.move.Pod)
	known = known && pod.UID == x.move.UID
	if known && x.move.Leased {
		if leased := x.a.mayRun(pod); leased != x.leased {
			x.leased = leased
			x.feed(decide.Lease{Valid: leased})
		}
	}
	if x.listens > 0 && x.a.n.w.d.now > x.listens {
		x.listens = 0
		x.feed(decide.Lost{Why: "nothing was heard of " + x.peer.name})
	}
	var now decide.Seen
	if g, ok := v.Migration(x.move.ID); ok {
		now.Migration = &g
	}
	if known {
		now.Pod = &pod
		x.hearOf(&pod)
	}
	if !sameSeen(now, x.seen) {
		x.seen = now
		x.feed(now)
	}
}

// hearOf remembers the epoch in which this node may run the pod.
func (x *mover) hearOf(pod *state.Pod) {
	if pod != nil && pod.UID == x.move.UID && pod.Node == x.a.n.name {
		x.epoch = max(x.epoch, pod.Epoch)
	}
}

func sameSeen(a, b decide.Seen) bool {
	if (a.Migration == nil) != (b.Migration == nil) || (a.Pod == nil) != (b.Pod == nil) {
		return false
	}
	return (a.Migration == nil || *a.Migration == *b.Migration) &&
		(a.Pod == nil || a.Pod.Node == b.Pod.Node && a.Pod.Epoch == b.Pod.Epoch && a.Pod.Migration == b.Pod.Migration && a.Pod.Deleting == b.Pod.Deleting)
}

// feed gives the machine an input and carries out what it wants.
func (x *mover) feed(in decide.Input) {
	if x.over {
		return
	}
	trace := x.a.n.w.d.trace
	actions := x.machine.Handle(in)
	if trace.keep && len(actions) > 0 {
		trace.note("%s: %s", x.file, input(in))
	}
	for _, action := range actions {
		if trace.keep {
			trace.note("    %s", plain(action))
		}
		x.carryOut(action)
	}
}

func (x *mover) carryOut(action decide.Action) {
	n, d := x.a.n, x.a.n.w.d
	if n.w.strikes(ambushes(action)) {
		n.w.ambush(n, x.peer, action)
	}
	switch action := action.(type) {
	case decide.Record:
		x.record(action.Step)
	case decide.Do:
		x.stopping = false
		do, ok := x.steps[action.Step]
		if !ok {
			n.w.violated(ruleSteps, "%s: nobody can do %q", x.file, action.Step)
			return
		}
		do(x, action.Step)
	case decide.Stop:
		x.stopping = true
	case decide.Propose:
		n.w.log.propose(n, action.Command, d.between(300*time.Millisecond, 6*time.Second), func(r state.Result, known bool) {
			if !known {
				x.feed(decide.Unknown{Ask: action.Ask})
				return
			}
			x.hearOf(r.Pod)
			x.feed(decide.Answered{Ask: action.Ask, Result: r})
		})
	case decide.Tell:
		x.tell(action)
	case decide.SetTimer:
		x.timers[action.Timer]++
		set := x.timers[action.Timer]
		d.timer(n.agent, action.After, string(action.Timer), func() {
			if x.timers[action.Timer] == set {
				x.feed(decide.Fired{Timer: action.Timer})
			}
		})
	case decide.RemoveJournal:
		n.host.disk.remove(x.file)
	case decide.Finish:
		x.over = true
		n.w.finished(x, action)
		x.a.changed()
	}
}

// record writes a line of the journal. It counts when it is on the disk.
func (x *mover) record(step decide.Step) {
	n, d := x.a.n, x.a.n.w.d
	disk := &n.host.disk
	room := true
	if disk.find(x.file) == nil {
		room = disk.append(x.file, x.move)
	}
	room = room && disk.append(x.file, step)
	d.timer(n.agent, d.between(0, 15*time.Millisecond), "sync", func() {
		if !room {
			x.feed(decide.RecordFailed{Step: step, Why: "no space left on device"})
			return
		}
		disk.sync(x.file)
		x.feed(decide.Recorded{Step: step})
	})
}

// agents does a step that is the agent's own: it dies with it.
func (x *mover) agents(step decide.Step, a, b time.Duration, effect func() (failed string)) {
	d := x.a.n.w.d
	d.timer(x.a.n.agent, d.between(a, b), string(step), func() { x.end(step, effect()) })
}

// hosts does a step that a process apart does, which outlives the agent. A loss of the host ends it.
func (x *mover) hosts(step decide.Step, a, b time.Duration, effect func() (failed string)) {
	n, d := x.a.n, x.a.n.w.d
	life, boots := n.agent.life, n.host.boots
	d.post(n.host.kernel, d.between(a, b), string(step), func() {
		if n.host.boots != boots || !n.host.up {
			return
		}
		failed := effect()
		if n.agent.life == life {
			d.timer(n.agent, 0, string(step)+" ended", func() { x.end(step, failed) })
		}
	})
}

func (x *mover) end(step decide.Step, failed string) {
	if failed != "" {
		x.feed(decide.Failed{Step: step, Why: failed})
		return
	}
	x.feed(decide.Done{Step: step})
}

// copy is the pod's copy here.
func (x *mover) copy() *copied { return x.a.n.host.find(x.move.UID) }
