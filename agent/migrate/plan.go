package migrate

import (
	"fmt"
	"strings"

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

// abort is the command that ends the move, even if its Reserve has not come yet.
func (p Plan) abort(reason string) state.Abort {
	return state.Abort{Migration: p.ID, UID: p.Pod.UID, Epoch: p.Epoch(), Reason: reason}
}

// Facts is what the pod needs of its next host.
type Facts struct {
	CRIU        [3]int `json:"criu"`         // version: major, minor, patch
	Arch        string `json:"arch"`         // as in GOARCH
	CPU         []byte `json:"cpu"`          // features that the pod's processes may have found, as CRIU notes them
	MemoryBytes int64  `json:"memory_bytes"` // resident now
	UpperBytes  int64  `json:"upper_bytes"`  // in its writable layers and volumes now
	// Layers are the sizes of the layers that it stands on, packed, in bytes.
	Layers map[state.Digest]int64 `json:"layers"`
}

// Offer is the target's answer to Facts.
type Offer struct {
	Refusals []Refusal      `json:"refusals,omitempty"`
	Missing  []state.Digest `json:"missing,omitempty"` // layers that the target lacks
	Note     string         `json:"note,omitempty"`    // for people: why it can take the pod
}

// Refusal is one reason why a pod can't move, and what an operator can do about it.
type Refusal struct {
	Reason string `json:"reason"`
	Cure   string `json:"cure"`
}

// RefusedError says that the target can't take the pod. Nothing was changed.
type RefusedError struct {
	Node     string
	Refusals []Refusal
}

func (e *RefusedError) Error() string {
	lines := make([]string, len(e.Refusals))
	for i, r := range e.Refusals {
		lines[i] = r.Reason
		if r.Cure != "" {
			lines[i] += " (" + r.Cure + ")"
		}
	}
	return fmt.Sprintf("%s can't take the pod: %s", e.Node, strings.Join(lines, "; "))
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
