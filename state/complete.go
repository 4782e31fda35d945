package state

// Complete says that the pod runs at the target. Only then does the source destroy its frozen copy. Twice
// is once.
type Complete struct {
	Migration string `json:"migration"`
	// Node proposes; it must be the migration's target.
	Node string `json:"node"`
}

// Kind implements [Command].
func (Complete) Kind() Kind { return KindComplete }

func (c Complete) apply(m *Machine) Result {
	g, reason := m.migrationTo(c.Migration, c.Node)
	if reason != "" {
		return refused("%s", reason)
	}
	switch g.Phase {
	case Activated:
		pod := m.t.pods[g.Pod]
		pod.Migration, pod.DrainedFrom = "", drainedFrom(pod, g)
		m.putPod(pod)
		m.finish(g, Done, "")
		return m.won(g.Pod, g.ID)
	case Done:
		return m.won(g.Pod, g.ID)
	default:
		return m.lost(g.Pod, g.ID, "%s can't be completed: it is %s", g, g.Phase)
	}
}

// drainedFrom is what a pod remembers once it has moved: the first node that it had to leave, until somebody moves it
// for another reason, or it is back.
func drainedFrom(pod Pod, g Migration) string {
	switch {
	case !g.Drain || pod.DrainedFrom == g.Target:
		return ""
	case pod.DrainedFrom == "":
		return g.Source
	}
	return pod.DrainedFrom
}
