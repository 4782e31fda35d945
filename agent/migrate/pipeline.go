package migrate

import "context"

// step is a row of the pipeline.
type step struct {
	name string
	// do must be idempotent, and leave what it made to undo when it fails.
	do func(*Departure, context.Context) error
	// remote: the target does it, the source waits for its word.
	remote bool
}

// pipeline is the way of a move, from top to bottom, as its source drives it. A failure before the mesh has
// activated the move ends in an Abort; the step after which it can't is activate.
//
// All that a won Abort has to undo at the source is one idempotent operation, Source.Thaw, and at the target
// another, Destination.Discard: so a restarted agent need not know how far the steps had come.
func pipeline() []step {
	return []step{
		{name: "preflight", do: (*Departure).preflight},
		{name: "reserve", do: (*Departure).reserve},                 // undone: the record is aborted; the target discards
		{name: "presync", do: (*Departure).presync},                 // undone: the target discards
		{name: "freeze", do: (*Departure).freeze},                   // undone: the source thaws
		{name: "final", do: (*Departure).final},                     // undone: the source thaws, the target discards
		{name: "restore", do: (*Departure).restore, remote: true},   // undone: the target kills what it restored
		{name: "activate", do: (*Departure).activate, remote: true}, // the point of no return
		{name: "release", do: (*Departure).release, remote: true},
		{name: "retire", do: (*Departure).retire},
	}
}
