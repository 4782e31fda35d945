package decide

import (
	"slices"

	"github.com/drover-mesh/drover/state"
)

// A Source decides for the node that the pod leaves. It goes through the [Pipeline] as long as nothing fails; when
// something does, its Abort and the target's Activate decide whose the pod is.
type Source struct {
	core
	part    part
	stage   int // of the pipeline
	reached []Milestone
	seen    Seen

	stopped bool // the move shall end before it is done
	at      Step // with stopped: where it was
	why     string

	later   string // with waiting: another open move of the pod, which has to end first
	outcome Outcome
}

// part is what a source is at.
type part int

const (
	forward  part = iota // along the pipeline
	asking               // its Abort is on the way
	waiting              // the target's word counts: for the end of the move
	unleased             // it may let the pod go on, once it has a lease
	ending               // the frozen copy is thawed, revived or retired
	finished
)

// NewSource begins a move.
func NewSource(m Move) *Source { return &Source{core: core{move: m}} }

// RecoverSource takes up a move of an earlier agent, which has left a journal with these steps. The caller keeps the
// slice. Nothing of the mesh was asked before there was a journal.
func RecoverSource(m Move, journal []Step) *Source {
	s := NewSource(m)
	s.journal = append([]Step{Reserve}, journal...)
	s.stopped, s.why = true, "the agent of "+m.Source+" started again"
	return s
}

// Handle takes the next input and returns what to do. The caller owns the slice.
func (s *Source) Handle(in Input) []Action {
	switch in := in.(type) {
	case Begin:
		s.begin()
	case Recorded:
		s.recordedStep(in.Step)
	case RecordFailed:
		if s.unwritten(in.Step) {
			s.fail(in.Why)
		}
	case Done:
		s.done(in.Step)
	case Failed:
		s.failedStep(in.Step, in.Why)
	case Cancelled:
		s.giveUp(in.Why)
	case Reached:
		s.reached = append(s.reached, in.Milestone)
		s.goOn()
	case Lost:
		s.giveUp(in.Why)
	case Seen:
		s.see(in)
	case Answered:
		s.answered(in)
	case Unknown:
		s.unknown(in.Ask)
	case Lease:
		s.lease(in.Valid)
	case Fired:
		s.fired(in.Timer)
	}
	return s.take()
}

func (s *Source) begin() {
	switch {
	case s.begun:
	case s.stopped: // taken up
		s.abort()
	default:
		s.do(Preflight)
	}
	s.begun = true
}

func (s *Source) step() Step       { return Pipeline()[s.stage].Step }
func (s *Source) until() Milestone { return Pipeline()[s.stage].Until }

// idle says that nothing goes on that ends by itself.
func (s *Source) idle() bool { return s.writing == "" && s.busy == "" && s.asked == nil }

// enter begins the next step of the pipeline.
func (s *Source) enter() {
	s.stage++
	s.record(s.step())
	if s.step() == Restore {
		s.emit(SetTimer{Patience, patience})
	}
}

func (s *Source) recordedStep(step Step) {
	switch {
	case !s.recorded(step):
	case s.stopped:
		s.abort()
	case step == Reserve:
		s.ask(s.move.reserve())
	case step == Retire:
		s.emit(SetTimer{LookOver, lookOverAfter})
		s.goOn()
	case s.until() != "":
		s.goOn()
	default:
		s.do(step)
	}
}

func (s *Source) done(step Step) {
	switch {
	case !s.ended(step):
	case s.part == ending:
		s.finish(s.outcome)
	case s.stopped:
		s.abort()
	default:
		s.enter()
	}
}

func (s *Source) failedStep(step Step, why string) {
	switch {
	case !s.ended(step):
	case s.part == ending:
		s.tryAgain(step)
	default:
		s.fail(why)
	}
}

// goOn goes on behind a step that the target does as soon as it has, and retires the frozen copy once the pod runs.
func (s *Source) goOn() {
	r := s.seen.result()
	switch {
	case s.part != forward || s.stopped:
	case s.step() == Retire && s.idle() && phase(r) == state.Done && s.move.mayRetire(r):
		s.end(Retire, Moved)
	case s.seen.over() && phase(r) != state.Done:
		s.stop("the move was ended: " + s.seen.Migration.Reason)
	case s.idle() && s.until() != "" && slices.Contains(s.reached, s.until()):
		s.enter()
	}
}

// answered goes on with what the mesh has committed.
func (s *Source) answered(in Answered) {
	switch s.answer(in.Ask).(type) {
	case state.Reserve:
		if !in.Result.OK {
			s.fail(in.Result.Reason)
			return
		}
		s.do(Reserve)
	case state.Abort:
		s.judge(in.Result)
	}
}

// fail ends the move, if it still can be, because of something that was not done.
func (s *Source) fail(why string) {
	if !s.stopped {
		s.stopped, s.at, s.why = true, s.step(), why
	}
	s.abort()
}

// stop ends the move, if it still can be, as soon as what goes on has ended.
func (s *Source) stop(why string) {
	s.stopped, s.at, s.why = true, s.step(), why
	switch {
	case s.busy != "":
		s.emit(Stop{})
	case s.writing == "":
		s.abort()
	}
}

// giveUp ends the move because somebody wishes it, or the target is not heard of. At its last step there is nothing to go back to.
func (s *Source) giveUp(why string) {
	if s.part == forward && !s.stopped && s.step() != Retire {
		s.stop(why)
	}
}
