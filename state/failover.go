package state

import (
	"fmt"
	"strings"
	"time"
)

// A Failover gives a pod that isn't moving to another node, where it begins anew from its image: its node was given up, and can't
// run it any more, since its lease is over and the fence has frozen it. The leader of a reign proposes it. In any other reign
// it is refused: a later leader may have granted the node a lease. Twice is once.
//
// The pod's named volumes are the new node's from then on; what they held is lost. A pod that is stopped stays where it is, with all
// that it has, until somebody starts it; one that is being removed waits for its node.
type Failover struct {
	UID string `json:"uid"`
	// Epoch is the pod's when that was decided.
	Epoch uint64 `json:"epoch"`
	// From is the node that was given up, To the one that shall start the pod.
	From string `json:"from"`
	To   string `json:"to"`
	// Term is that of the leader's reign.
	Term   uint64    `json:"term"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Kind implements [Command].
func (Failover) Kind() Kind { return KindFailover }

func (c Failover) apply(m *Machine) Result {
	pod, ok := m.podByUID(c.UID)
	if !ok {
		return refused("there is no pod with the UID %s", c.UID)
	}
	if pod.began(c.Epoch+1, c.From, c.To, OriginImage, "") {
		return m.won(pod.Name, "")
	}
	if reason := m.mayFailOver(pod, c.Term, c.At); reason != "" {
		return m.lost(pod.Name, pod.Migration, "%s", reason)
	}
	switch {
	case pod.Migration != "":
		return m.lost(pod.Name, pod.Migration, "pod %s is moving: %s has to end with the failover", pod.Name, m.t.migrations[pod.Migration])
	case pod.Node != c.From || pod.Epoch != c.Epoch:
		return m.lost(pod.Name, "", "pod %s is at %s in epoch %d, not at %s in epoch %d", pod.Name, pod.Node, pod.Epoch, c.From, c.Epoch)
	case pod.Deleting:
		return m.lost(pod.Name, "", "pod %s is being removed", pod.Name)
	case pod.Stopped:
		return m.lost(pod.Name, "", "pod %s is stopped: it loses nothing where it is", pod.Name)
	}
	if reason := m.closedTo(pod, c.From, c.To); reason != "" {
		return m.lost(pod.Name, "", "%s", reason)
	}
	m.beginAnew(pod, c.To, c.Epoch+1, Origin{From: c.From, Kind: OriginImage, At: c.At, Reason: c.Reason})
	return m.won(pod.Name, "")
}

// began says whether the pod's present life is the one that a command began.
func (p Pod) began(epoch uint64, from, to string, kind OriginKind, move string) bool {
	o := p.Origin
	return o != nil && o.Epoch == epoch && o.From == from && o.Kind == kind && o.Move == move && (p.Node == to || p.Epoch > epoch)
}

// mayFailOver says why nobody may take the pod away from its node in that term, or returns "".
func (m *Machine) mayFailOver(pod Pod, term uint64, at time.Time) (reason string) {
	switch reason := m.reigns(term); {
	case reason != "":
		return "the failover of pod " + pod.Name + " is not this leader's: " + reason
	case !pod.NeedsLease():
		return "pod " + pod.Name + " has no failover policy: its node may run it while it is cut off"
	case !writable(at):
		return "the time of the failover of pod " + pod.Name + " is not within the years 0 to 9999"
	}
	return ""
}

// closedTo says why the pod may not begin anew at a node, or returns "".
func (m *Machine) closedTo(pod Pod, from, to string) (reason string) {
	if to == from {
		return fmt.Sprintf("pod %s can't be taken from %s and given to it", pod.Name, from)
	}
	if pod.Needs.Pinned != "" {
		return fmt.Sprintf("pod %s can't leave %s: %s", pod.Name, from, pod.Needs.Pinned)
	}
	return m.closed(to, pod.UID, pod.Needs)
}

// beginAnew makes a node the owner of the pod at an epoch, with which a life of it begins.
func (m *Machine) beginAnew(pod Pod, node string, epoch uint64, o Origin) {
	o.Epoch, o.At, o.Reason, o.Lost = epoch, instant(o.At), clip(o.Reason, maxReason), clip(pod.loses(o), maxReason)
	pod.Node, pod.Epoch, pod.Migration, pod.DrainedFrom, pod.Origin = node, epoch, "", "", &o
	m.putPod(pod)
	m.placeVolumes(pod)
}

// loses says, for people, what the pod loses if it begins anew so.
func (p Pod) loses(o Origin) string {
	if o.Kind == OriginFrozen {
		return fmt.Sprintf("what it did on %s after its move %s had brought it there, and its TCP connections", o.From, o.Move)
	}
	lost := "its memory, its TCP connections and all files that it had written"
	if len(p.Needs.Volumes) > 0 {
		lost += ", also to its volumes " + strings.Join(p.Needs.Volumes, ", ")
	}
	return lost
}
