package state

// Return gives a pod back after Activate: the target proposes it when it owns the pod, has not resumed it
// and never will. The source owns the pod again, one epoch later, and thaws its frozen copy, which has
// everything. Twice is once.
type Return struct {
	Migration string `json:"migration"`
	// Node proposes; it must be the migration's target.
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Kind implements [Command].
func (Return) Kind() Kind { return KindReturn }

func (c Return) apply(m *Machine) Result {
	g, reason := m.migrationTo(c.Migration, c.Node)
	if reason != "" {
		return refused("%s", reason)
	}
	switch g.Phase {
	case Activated:
		pod := m.t.pods[g.Pod]
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
