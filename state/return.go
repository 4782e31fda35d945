package state

import "time"

// Return gives a pod back after Activate: the target proposes it when it owns the pod, has not resumed it
// and never will. The source owns the pod again, one epoch later, and thaws its frozen copy, which has
// everything. Twice is once.
//
// A node that has lost what it had of the pod can't tell whether it has resumed it: then Ran is set, and the pod goes on from the
// frozen copy without what it may have done since, as its [Origin] tells.
type Return struct {
	Migration string `json:"migration"`
	// Node proposes; it must be the migration's target.
	Node   string `json:"node"`
	Reason string `json:"reason"`
	// Ran says that the pod may have run at the node.
	Ran bool `json:"ran,omitempty"`
	// At is the proposer's time, with Ran.
	At time.Time `json:"at,omitzero"`
}

// Kind implements [Command].
func (Return) Kind() Kind { return KindReturn }

func (c Return) apply(m *Machine) Result {
	g, reason := m.migrationTo(c.Migration, c.Node)
	if reason != "" {
		return refused("%s", reason)
	}
	if !writable(c.At) {
		return m.lost(g.Pod, g.ID, "the time at which pod %s is returned is not within the years 0 to 9999", g.Pod)
	}
	switch g.Phase {
	case Activated:
		pod := m.t.pods[g.Pod]
		if c.Ran {
			m.finish(g, Returned, c.Reason)
			m.beginAnew(pod, g.Source, g.Epoch+1, Origin{From: g.Target, Kind: OriginFrozen, Move: g.ID, At: c.At, Reason: c.Reason})
			return m.won(g.Pod, g.ID)
		}
		pod.Node, pod.Epoch, pod.Migration = g.Source, g.Epoch+1, ""
		m.putPod(pod)
		m.placeVolumes(pod)
		m.finish(g, Returned, c.Reason)
		return m.won(g.Pod, g.ID)
	case Returned:
		return m.won(g.Pod, g.ID)
	default:
		return m.lost(g.Pod, g.ID, "%s can't be returned: it is %s", g, g.Phase)
	}
}
