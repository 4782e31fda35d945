package decide

import (
	"slices"

	"github.com/drover-mesh/drover/state"
)

// abort asks for the end of the move. Whether it comes before the target's Activate the answer tells, and nothing else.
func (s *Source) abort() {
	if !s.has(Reserve) {
		s.finish(Untouched)
		return
	}
	s.part = asking
	s.ask(s.move.abort(s.why))
}

// judge acts on the answer to an Abort.
func (s *Source) judge(r state.Result) {
	switch f, later := s.move.atSource(r, s.has(Freeze)); f {
	case undecided:
		s.wait(later)
	case untouched:
		s.finish(Stayed)
	case thawed:
		s.end(Thaw, Stayed)
	case revived:
		s.end(Revive, Revived)
	case retired:
		s.end(Retire, moved(phase(r)))
	case left:
		s.finish(Left)
	}
}

// moved is how a move has ended whose pod is another's now.
func moved(at state.MigrationPhase) Outcome {
	if at == state.Done || at == "" {
		return Moved
	}
	return Gone
}

// wait waits until the move is over, or the later one that has the pod now.
func (s *Source) wait(later string) {
	s.part, s.later = waiting, later
	if later == "" && s.seen.over() { // by what was seen since
		s.abort()
		return
	}
	s.emit(SetTimer{LookOver, lookOverAfter})
}

// end does the last step. What lets the pod run waits for a lease, and is decided upon anew then: without one, others may
// have taken the pod over.
func (s *Source) end(step Step, outcome Outcome) {
	if step != Retire && !s.mayRun() {
		s.part = unleased
		return
	}
	s.part, s.outcome = ending, outcome
	s.do(step)
}

// see hears what this node's view has. It is old: it only makes the source ask.
func (s *Source) see(in Seen) {
	s.seen = in
	switch {
	case s.part == forward:
		s.goOn()
	case s.part != waiting:
	case s.later == "" && in.over(), s.later != "" && (in.Pod == nil || in.Pod.Migration != s.later):
		s.abort()
	}
}

// lease hears of a lease. An answer that was given under an earlier one, or under none, lets nothing run.
func (s *Source) lease(valid bool) {
	s.leased = valid
	if valid && s.move.Leased && (s.part == unleased || s.part == asking) {
		s.abort()
	}
}

func (s *Source) fired(t Timer) {
	switch {
	case t == AskAgain:
		s.askAgain()
	case t == TryAgain && s.part == ending && s.again != "":
		if s.move.Leased && s.again != Retire { // the lease may not have lasted
			s.abort()
			return
		}
		s.do(s.again)
	case t == LookOver && s.part == waiting:
		s.abort()
	case t == LookOver && s.part == forward && s.step() == Retire && s.idle():
		s.stop("nothing was heard of its end for " + lookOverAfter.String())
	case t == Patience && s.part == forward && !s.stopped && !slices.Contains(s.reached, Activated):
		s.stop("the target has not activated the move within " + patience.String())
	}
}

// finish ends the machine.
func (s *Source) finish(o Outcome) {
	s.part, s.asked = finished, nil
	if s.has(Reserve) {
		s.emit(RemoveJournal{})
	}
	s.emit(Finish{o, s.at, s.why})
}
