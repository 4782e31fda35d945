package state

import "time"

// A FailoverPolicy says what becomes of a pod whose node is lost.
type FailoverPolicy string

// The policies.
const (
	// FailoverNone: the pod waits for its node, and runs on when that is cut off.
	FailoverNone FailoverPolicy = ""
	// FailoverRestart: the pod is started on another node, from the newest complete state that the mesh has, else from its
	// image. It runs only under a lease of its node.
	FailoverRestart FailoverPolicy = "restart"
)

// An Origin says how the present life of a pod began, if that was not its creation: with less than it had before. Nobody may
// modify one.
//
// What a node has of the pod belongs to this life only if [Pod.Continues] says so. Anything else is left of an earlier one: it
// must never run, and is removed before this one begins.
type Origin struct {
	// Epoch is the first of this life. No other life has one that is as great.
	Epoch uint64 `json:"epoch"`
	// From is the node that was given up, or that had lost what it had of the pod.
	From string     `json:"from"`
	Kind OriginKind `json:"kind"`
	// Move is the migration whose frozen copy it began from, of the kind frozen.
	Move string `json:"move,omitempty"`
	// At is when that was decided, by the clock of who did.
	At time.Time `json:"at"`
	// Reason says, for people, why the node was given up.
	Reason string `json:"reason,omitempty"`
	// Lost says, for people, what of the pod was lost.
	Lost string `json:"lost"`
}

// An OriginKind says from what a life of a pod begins.
type OriginKind string

// The kinds of origins.
const (
	// OriginImage: from the pod's images, with empty volumes.
	OriginImage OriginKind = "image"
	// OriginFrozen: from the copy that its node, the source of a move, has kept frozen. Its TCP connections are closed: their peers have
	// been told more than it remembers.
	OriginFrozen OriginKind = "frozen"
)

// Continues says whether what a node has of the pod is of its present life. epoch is the one in which the node last owned the
// pod: that of the copy which it ran, or froze.
func (p Pod) Continues(epoch uint64) bool {
	switch {
	case p.Origin == nil || epoch >= p.Origin.Epoch:
		return true
	case p.Origin.Kind == OriginFrozen:
		return epoch+2 == p.Origin.Epoch // the source had it before Activate, see [AbortAndFailover]; that of the target is lost
	}
	return false
}
