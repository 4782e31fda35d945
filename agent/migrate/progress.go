package migrate

import (
	"errors"
	"fmt"
	"time"
)

// Status is how a step stands.
type Status string

// A step starts, goes on (with bytes), and ends in one of three ways.
const (
	Started Status = "started"
	Going   Status = "going"
	Done    Status = "done"
	Broken  Status = "failed"
	Undone  Status = "undone"
)

// Progress is one thing that happened in a move, for those who watch it.
type Progress struct {
	Step    string
	Node    string // where
	Status  Status
	Elapsed time.Duration // since the step started
	Bytes   int64         // sent by this step so far
	Note    string        // for people
}

// StepTime is how long a step took.
type StepTime struct {
	Name string
	Took time.Duration
}

// Report is what a successful move took.
type Report struct {
	Plan        Plan
	Steps       []StepTime
	Downtime    time.Duration // from the freeze to the resume, on the source's clock: the way of the news is taken off
	Total       time.Duration
	BytesSent   int64 // to the target, on the wire
	FrozenBytes int64 // of it between freeze and resume
}

// ErrCancelled is why a move failed that somebody has cancelled.
var ErrCancelled = errors.New("it was cancelled")

// Error says at which step a move failed and how the pod is now.
type Error struct {
	Pod, Step, Node string
	Cause           error
	// Settled is what became of the pod: for people.
	Settled string
}

func (e *Error) Error() string {
	return fmt.Sprintf("moving %s failed at step %s on %s: %v; %s", e.Pod, e.Step, e.Node, e.Cause, e.Settled)
}

func (e *Error) Unwrap() error { return e.Cause }
