package decide

import "github.com/drover-mesh/drover/state"

// An Input is something that a machine hears of.
type Input interface{ input() }

type (
	// Begin is the first input. A target hears it again when the source asks again.
	Begin struct{}

	// Recorded says that a step stands in the journal, on the disk.
	Recorded struct{ Step Step }
	// RecordFailed says that it does not.
	RecordFailed struct {
		Step Step
		Why  string
	}

	// Done says that a step was done.
	Done struct{ Step Step }
	// Failed says that it was not, or not to its end. Done once more, it may be.
	Failed struct {
		Step Step
		Why  string
	}
	// Ran answers [Cancel] or [Discard]: the pod has run here, and was left alone.
	Ran struct{ Step Step }

	// Answered is what a proposal came to. OK or not, it was committed.
	Answered struct {
		Ask    uint64 // of the [Propose]
		Result state.Result
	}
	// Unknown says that nobody knows what a proposal came to: it may be applied later, or never.
	Unknown struct{ Ask uint64 }

	// Seen is what this node's view of the committed state has of the move and its pod, nil if nothing. It is old, by
	// how much nobody knows. It is fed when it has changed.
	Seen struct {
		Migration *state.Migration
		Pod       *state.Pod
	}

	// Lease says whether this node has a lease, under a fence that has this pod. Each one that begins is told of, also
	// if the end of the one before was not. It must be told of before its pod is seen to move otherwise. Machines of
	// moves that are not Leased need not hear of it.
	Lease struct{ Valid bool }

	// Fired says that the time of a [SetTimer] is up.
	Fired struct{ Timer Timer }

	// Cancelled asks a source to give the move up, if it still can.
	Cancelled struct{ Why string }
	// Reached is a milestone that a source hears of.
	Reached struct{ Milestone Milestone }
	// Lost says that a source won't hear of more milestones: the target gave up, or can't be reached.
	Lost struct{ Why string }

	// Heard says that the source of an arrival has shown itself.
	Heard struct{}
	// Arrived says that everything of the pod is at the target, and its digests are those that the source has sent.
	Arrived struct{}
)

func (Begin) input()        {}
func (Recorded) input()     {}
func (RecordFailed) input() {}
func (Done) input()         {}
func (Failed) input()       {}
func (Ran) input()          {}
func (Answered) input()     {}
func (Unknown) input()      {}
func (Seen) input()         {}
func (Lease) input()        {}
func (Fired) input()        {}
func (Cancelled) input()    {}
func (Reached) input()      {}
func (Lost) input()         {}
func (Heard) input()        {}
func (Arrived) input()      {}

// result has what was seen in the form of an answer.
func (s Seen) result() state.Result { return state.Result{Migration: s.Migration, Pod: s.Pod} }

// over says that the move was seen to be.
func (s Seen) over() bool { return s.Migration != nil && !s.Migration.Phase.Open() }
