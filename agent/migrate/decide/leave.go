package decide

import "github.com/drover-mesh/drover/state"

// see hears what this node's view has. It is old, but a move that is over stays so. What is proposed will be answered; a node
// that was given up need not wait for that.
func (t *Target) see(in Seen) {
	switch {
	case !in.over() || t.verdict != nil:
	case t.part == arriving, t.part == abandoned, t.part == taking && t.asked == nil:
		t.settle(in.result())
	case in.Migration.Phase == state.FailedOver && (t.part == taking || t.part == returning || t.part == running):
		t.settle(in.result())
	}
}

// settle goes by a committed answer: what is here is taken up or removed, as soon as nothing goes on any more.
func (t *Target) settle(r state.Result) {
	if t.verdict == nil && (t.part == taking || t.part == returning) {
		t.emit(Tell{GaveUp, t.reason(r)})
	}
	switch {
	case t.busy == "" && t.writing == "":
		t.verdict = nil
		t.judge(r)
	case t.verdict == nil && t.busy == Restore:
		t.emit(Stop{})
		fallthrough
	default:
		t.verdict = &r
	}
}

// reason says why the pod does not run here.
func (t *Target) reason(r state.Result) string {
	switch {
	case t.part == returning:
		return t.why
	case r.Reason == "" && r.Migration != nil: // it was seen
		return "the move was ended before: " + r.Migration.Reason
	}
	return "the move was ended before: " + r.Reason
}

func (t *Target) judge(r state.Result) {
	switch t.move.atTarget(r, t.has(Resume)) {
	case undecided:
		t.own()
	case left:
		t.leave(Forget, leftAs(r))
	case discarded:
		t.leave(Discard, t.move.goneTo(r))
	case destroyed:
		t.leave(Destroy, Gone)
	}
}

func leftAs(r state.Result) Outcome {
	if phase(r) == state.Done {
		return Moved
	}
	return Left
}

// goneTo is how a move has ended for a target that never ran the pod.
func (m Move) goneTo(r state.Result) Outcome {
	switch {
	case phase(r) == state.Returned:
		return Returned
	case m.pod(r).Node == m.Source:
		return Stayed
	}
	return Gone
}

// leave removes what is not needed, and ends with it.
func (t *Target) leave(s Step, o Outcome) {
	t.part, t.outcome, t.asked = leaving, o, nil
	t.do(s)
}

func (t *Target) fired(timer Timer) {
	switch {
	case timer == AskAgain:
		t.askAgain()
	case timer == TryAgain && t.again == "":
	case timer == TryAgain && (t.again == Resume || t.again == Return): // could not be recorded
		t.record(t.again)
	case timer == TryAgain:
		t.do(t.again)
	case timer == Silence && t.part == arriving && t.writing == "":
		t.part = abandoned
		t.ask(t.move.abort(t.move.Target + " has heard nothing of " + t.move.Source + " for " + Abandoned.String()))
	}
}

// finish ends the machine.
func (t *Target) finish() {
	t.part = over
	t.emit(RemoveJournal{})
	t.emit(Finish{Outcome: t.outcome, Why: t.why})
}
