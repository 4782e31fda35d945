package state

import "time"

// AbortAndFailover ends a move of which the end that owns the pod was given up, and gives the pod to who can run it, in one command: of it
// and Activate, Abort, Complete and Return the first in the log wins. Otherwise it is as [Failover]. Twice is once.
//
// While the migration is Reserved the source owns the pod: the migration is Aborted, and the pod begins anew at To from its image.
// When it is Activated the target does, and the copy that the source has kept frozen is the newest state there is: the
// migration is FailedOver, and the pod goes on from that copy at the source. Only if the source was given up too, it begins anew
// from its image, at another node.
type AbortAndFailover struct {
	Migration string `json:"migration"`
	UID       string `json:"uid"`
	// Epoch is the pod's when that was decided: it tells whether Activate had come.
	Epoch uint64 `json:"epoch"`
	// From is the node that was given up and owns the pod, To the one that shall run it.
	From string `json:"from"`
	To   string `json:"to"`
	// SourceLost says, of a migration that is Activated, that the source was given up as well.
	SourceLost bool `json:"sourceLost,omitempty"`
	// Term is that of the leader's reign.
	Term   uint64    `json:"term"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Kind implements [Command].
func (AbortAndFailover) Kind() Kind { return KindAbortAndFailover }

func (c AbortAndFailover) apply(m *Machine) Result {
	g, ok := m.t.migrations[c.Migration]
	if !ok || g.UID != c.UID {
		return refused("there is no migration %s of a pod with the UID %s", c.Migration, c.UID)
	}
	pod, ok := m.podByUID(c.UID)
	if !ok {
		return refused("there is no pod with the UID %s", c.UID)
	}
	kind, move := OriginImage, ""
	if c.Epoch == g.Epoch && c.To == g.Source {
		kind, move = OriginFrozen, g.ID
	}
	// The epoch of the migration stays that of its Activate alone, won or not.
	epoch := g.Epoch + 1
	if pod.began(epoch, c.From, c.To, kind, move) {
		return m.won(pod.Name, g.ID)
	}
	if reason := m.mayFailOver(pod, c.Term, c.At); reason != "" {
		return m.lost(pod.Name, g.ID, "%s", reason)
	}
	switch {
	case !g.Phase.Open():
		return m.lost(pod.Name, g.ID, "%s is over: %s", g, g.Phase)
	case pod.Node != c.From || pod.Epoch != c.Epoch:
		return m.lost(pod.Name, g.ID, "pod %s is at %s in epoch %d, not at %s in epoch %d", pod.Name, pod.Node, pod.Epoch, c.From, c.Epoch)
	}
	if reason := c.misplaced(m, pod, g, kind); reason != "" {
		return m.lost(pod.Name, g.ID, "%s", reason)
	}
	phase := Aborted
	if g.Phase == Activated {
		phase = FailedOver
	}
	m.finish(g, phase, c.Reason)
	m.beginAnew(pod, c.To, epoch, Origin{From: c.From, Kind: kind, Move: move, At: c.At, Reason: c.Reason})
	return m.won(pod.Name, g.ID)
}

// misplaced says why To is not the node for the pod, or returns "". The source takes its own copy back always, as by [Return]: a
// pod that is being removed too, since only so the move ends.
func (c AbortAndFailover) misplaced(m *Machine, pod Pod, g Migration, kind OriginKind) (reason string) {
	switch {
	case kind == OriginFrozen:
		return ""
	case g.Phase == Activated && !c.SourceLost:
		return "the newest state of pod " + pod.Name + " is the frozen copy at " + g.Source + ": it goes on there"
	case pod.Deleting:
		return "pod " + pod.Name + " is being removed"
	}
	return m.closedTo(pod, c.From, c.To)
}
