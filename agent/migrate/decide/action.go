package decide

import (
	"time"

	"github.com/drover-mesh/drover/state"
)

// An Action is something that a machine wants carried out.
type Action interface{ action() }

type (
	// Record writes a step to the journal and syncs it. The first one of a move begins the journal.
	Record struct{ Step Step }
	// Do begins a step.
	Do struct{ Step Step }
	// Stop asks the step that goes on to end soon. It still ends with [Done] or [Failed].
	Stop struct{}
	// Propose proposes a command to the mesh. The machine has no clock: into a Return of a pod that may have run the driver
	// writes the time.
	Propose struct {
		Ask     uint64 // grows with every one of a machine
		Command state.Command
	}
	// Tell tells the source of a milestone, if it listens.
	Tell struct {
		Milestone Milestone
		Why       string // with [GaveUp]
	}
	// SetTimer has [Fired] come after a while. One that was set before under that name is forgotten.
	SetTimer struct {
		Timer Timer
		After time.Duration
	}
	// RemoveJournal ends the journal: nothing of the move is left to do. A target is not over before it is gone.
	RemoveJournal struct{}
	// Finish is the last action of a machine.
	Finish struct {
		Outcome Outcome
		Step    Step   // at which a source gave up, "" if it did not
		Why     string // it gave up
	}
)

func (Record) action()        {}
func (Do) action()            {}
func (Stop) action()          {}
func (Propose) action()       {}
func (Tell) action()          {}
func (SetTimer) action()      {}
func (RemoveJournal) action() {}
func (Finish) action()        {}

// A Timer is one of those that a machine sets.
type Timer string

// The timers.
const (
	AskAgain Timer = "ask again" // after a proposal whose outcome is unknown
	TryAgain Timer = "try again" // after something that failed and can't be given up
	LookOver Timer = "look over" // whether a move is over of whose end this node should have heard
	Patience Timer = "patience"  // of a source with a target that does not activate
	Silence  Timer = "silence"   // of a source, as its target hears it
)

// How long they are.
const (
	firstAgain = 50 * time.Millisecond // of AskAgain and TryAgain; doubled from then on
	lastAgain  = 2 * time.Second
	// lookOverAfter is how long a node trusts that it would hear of a move's end: it may be forgotten before.
	lookOverAfter = time.Minute
	// patience is how long the pod stays frozen for a target that does not say that it has activated the move.
	patience = time.Minute
	// Abandoned is after how much silence of a source its move is aborted.
	Abandoned = 10 * time.Minute
)

// An Outcome is how a move has ended for one of its nodes.
type Outcome string

// The outcomes.
const (
	// Untouched: nothing was asked of the mesh, and nothing has changed.
	Untouched Outcome = "untouched"
	// Moved: the pod runs at the target.
	Moved Outcome = "moved"
	// Stayed: the pod goes on at the source as if nothing had been.
	Stayed Outcome = "stayed"
	// Returned: the target owned the pod and gave it back without having run it.
	Returned Outcome = "returned"
	// Revived: the target was given up; the source's frozen copy goes on without what happened since.
	Revived Outcome = "revived"
	// Gone: the pod belongs elsewhere by now. Nothing of it is left here.
	Gone Outcome = "gone"
	// Left: what is here of the pod is of a later time, and was left alone.
	Left Outcome = "left"
)
