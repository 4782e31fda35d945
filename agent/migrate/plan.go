package migrate

import (
	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// Mode says how a pod's memory crosses.
type Mode string

// StopCopy sends all memory while the pod is frozen.
const StopCopy Mode = "stop-copy"

// Plan is what both ends know of a move from its start.
type Plan struct {
	ID     string    `json:"id"`
	Pod    state.Pod `json:"pod"` // as committed when the move was asked for
	Source string    `json:"source"`
	Target string    `json:"target"`
	Mode   Mode      `json:"mode"`
}

// Epoch is the pod's epoch once the move is activated.
func (p Plan) Epoch() uint64 { return p.Pod.Epoch + 1 }

// move is what the machines know of it.
func (p Plan) move() decide.Move {
	return decide.Move{
		ID: p.ID, Pod: p.Pod.Name, UID: p.Pod.UID, Epoch: p.Epoch(), Source: p.Source, Target: p.Target, Leased: p.Pod.NeedsLease(),
	}
}

// Manifest lists what must have arrived before a restore may start.
type Manifest struct {
	Images []File `json:"images"`
	Uppers int    `json:"uppers"` // generations of the upper layer that were sent
}

// File is a checkpoint image.
type File struct {
	Name   string       `json:"name"` // a base name
	Size   int64        `json:"size"`
	Digest state.Digest `json:"digest"`
}

// Milestone is something that the target reached while it took over. Restored and Activated come in either
// order, since the mesh agrees while CRIU restores.
type Milestone struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // with Failed: what went wrong
}

// The milestones of a take-over.
const (
	Restored  = "restored"  // the processes exist and wait in CRIU's post-restore hook
	Activated = "activated" // the mesh has agreed: the target owns the pod
	Resumed   = "resumed"   // the pod runs; downtime is over
	Released  = "released"  // held packets have been let go to it
	Failed    = "failed"    // the target has given up, and undone what it could
)
