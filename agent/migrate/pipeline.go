package migrate

import (
	"context"

	"github.com/drover-mesh/drover/agent/migrate/decide"
)

// step is a row of the pipeline.
type step struct {
	decide.Step
	// do must be idempotent, and leave what it made to undo when it fails. nil: the target does it, and the source waits for
	// its word.
	do func(*Departure, context.Context) error
}

// pipeline is the way of a move, from top to bottom, as its source does it when decide.Source says so. A failure before the
// mesh has activated the move ends in an Abort; the step after which it can't is activate.
//
// All that a won Abort has to undo at the source is one idempotent operation, Source.Thaw, and at the target
// another, Destination.Discard: so a restarted agent need not know how far the steps had come.
func pipeline() []step {
	return []step{
		{decide.Preflight, (*Departure).preflight},
		{decide.Reserve, (*Departure).prepare}, // undone: the record is aborted; the target discards
		{decide.Presync, (*Departure).presync}, // undone: the target discards
		{decide.Freeze, (*Departure).freeze},   // undone: the source thaws
		{decide.Final, (*Departure).final},     // undone: the source thaws, the target discards
		{decide.Restore, nil},                  // undone: the target kills what it restored
		{decide.Activate, nil},                 // the point of no return
		{decide.Release, nil},
		{decide.Retire, (*Departure).retire},
	}
}
