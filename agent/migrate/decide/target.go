package decide

import "github.com/drover-mesh/drover/state"

// A Target decides for the node that the pod goes to. It takes what arrives, has the pod restored while the mesh agrees,
// and resumes it when both are there; or it gives the pod back, or removes what has arrived.
type Target struct {
	core
	part     place
	earlier  bool // an earlier agent has begun it
	mayRan   bool // with earlier: the pod may have run, by the journal. If the host went down, only that can tell
	prepared bool

	restored  bool
	broken    string // why it can't be restored, "" if nothing is wrong
	activated bool   // this node owns the pod, or did
	won       bool   // so said the answer to an Activate that was proposed under the lease that lasts

	verdict *state.Result // what is here is not, or not yet, to be taken over: acted upon when nothing goes on
	outcome Outcome
	why     string
}

// place is what a target is at.
type place int

const (
	arriving  place = iota // what the source sends is taken
	abandoned              // its Abort is on the way
	takingUp               // so it is, by an agent that starts
	taking                 // restored and activated, side by side
	returning              // given back
	running                // the pod runs here
	leaving                // what is not needed is removed
	over
)

// NewTarget begins an arrival for which the source has asked and that the mesh has reserved.
func NewTarget(m Move) *Target { return &Target{core: core{move: m}} }

// RecoverTarget takes up an arrival of an earlier agent, which has left a journal with these steps. The caller keeps the
// slice.
func RecoverTarget(m Move, journal []Step) *Target {
	t := NewTarget(m)
	t.journal = append([]Step{Prepare}, journal...)
	t.part, t.earlier, t.mayRan = takingUp, true, t.has(Resume)
	return t
}

// Takes says whether what the source sends is still taken: it is prepared for, and nothing is restored or ended yet.
func (t *Target) Takes() bool {
	return t.part == arriving && t.prepared && t.writing == "" && t.verdict == nil
}

// Ended says that nothing more is taken: it is taken over, or ended.
func (t *Target) Ended() bool { return t.part != arriving || t.verdict != nil }

// Handle takes the next input and returns what to do. The caller owns the slice.
func (t *Target) Handle(in Input) []Action {
	switch in := in.(type) {
	case Begin:
		t.begin()
	case Recorded:
		t.recordedStep(in.Step)
	case RecordFailed:
		t.unwrittenStep(in.Step, in.Why)
	case Done:
		t.done(in.Step)
	case Failed:
		t.failedStep(in.Step, in.Why)
	case Ran:
		t.ran(in.Step)
	case Heard:
		t.heard()
	case Arrived:
		if t.Takes() {
			t.record(Restore)
		}
	case Seen:
		t.see(in)
	case Answered:
		t.answered(in)
	case Unknown:
		t.unknown(in.Ask)
	case Lease:
		t.lease(in.Valid)
	case Fired:
		t.fired(in.Timer)
	}
	return t.take()
}

func (t *Target) begin() {
	switch {
	case t.begun && t.part == arriving && t.has(Prepare) && !t.prepared && t.busy == "":
		t.do(Prepare) // again: it had failed
	case t.begun:
	case t.earlier: // an Abort asks and answers at once: it wins if the move was not activated yet
		t.ask(t.move.abort("the agent of " + t.move.Target + " started again"))
	default:
		t.record(Prepare)
	}
	t.begun = true
}

// heard notes that the source is there.
func (t *Target) heard() {
	if t.part == arriving {
		t.emit(SetTimer{Silence, Abandoned})
	}
}

func (t *Target) recordedStep(s Step) {
	if !t.recorded(s) {
		return
	}
	switch {
	case t.verdict != nil:
		t.settle(*t.verdict)
	case s == Prepare:
		t.do(Prepare)
		t.heard()
	case s == Restore:
		t.part = taking
		t.do(Restore)
		t.activate()
	case s == Resume:
		t.join()
	case s == Return:
		t.do(Cancel)
	}
}

func (t *Target) unwrittenStep(s Step, why string) {
	switch {
	case !t.unwritten(s):
	case s == Prepare:
		t.part = over
		t.emit(Finish{Outcome: Untouched, Why: why})
	case t.verdict != nil:
		t.settle(*t.verdict)
	case s == Restore:
		t.giveUp(why)
	default:
		t.tryAgain(s)
		t.join()
	}
}

func (t *Target) done(s Step) {
	if !t.ended(s) {
		return
	}
	switch s {
	case Prepare:
		t.prepared = true
	case Restore:
		t.restored = true
		t.emit(Tell{Milestone: Restored})
	case Resume:
		t.run()
	case Release:
		t.emit(Tell{Milestone: Released})
	case Discard, Destroy, Forget:
		t.finish()
		return
	}
	t.goOn(s)
}

func (t *Target) failedStep(s Step, why string) {
	if !t.ended(s) {
		return
	}
	switch {
	case s == Restore:
		t.broken = why
		if t.mayRan {
			t.broken = "it may have run at " + t.move.Target + " before the host went down, and what it did there is lost: " + why
		}
		t.goOn(s)
	case t.verdict != nil && t.part != leaving:
		t.settle(*t.verdict)
	case s == Resume: // whether it runs is open
		t.giveBack(why)
	case s != Prepare: // that one the source may ask for again
		t.tryAgain(s)
	}
}

// goOn does what comes after a step.
func (t *Target) goOn(s Step) {
	switch {
	case t.verdict != nil && t.part != leaving:
		t.settle(*t.verdict)
	case s == Restore:
		t.join()
	case s == Cancel && t.part == returning:
		t.ask(t.move.giveBack(t.why, t.mayRan))
	case s == Cancel:
		t.do(Restore) // which the journal has, since Activate came after it
	case s == Resume:
		t.do(Release)
	case s == Release:
		t.ask(t.move.complete())
	}
}

// ran hears that the pod has run, of a step that would have destroyed it.
func (t *Target) ran(s Step) {
	switch {
	case !t.ended(s):
	case s == Discard: // by the record it is another's
		t.do(Destroy)
	default:
		t.run()
		t.goOn(Resume)
	}
}

func (t *Target) run() {
	t.part = running
	t.emit(Tell{Milestone: Resumed})
}

// answered goes on with what the mesh has committed.
func (t *Target) answered(in Answered) {
	command := t.answer(in.Ask)
	if command == nil {
		return
	}
	_, abort := command.(state.Abort)
	_, activate := command.(state.Activate)
	_, complete := command.(state.Complete)
	switch r := in.Result; {
	case !abort && !r.OK && r.Migration == nil: // the mesh has forgotten the move: the answer to an Abort tells the rest
		t.ask(t.move.abort("asked by " + t.move.Target))
	case activate && r.OK:
		t.agreed()
	case complete && r.OK:
		t.leave(Forget, Moved)
	default:
		t.settle(r)
	}
}
