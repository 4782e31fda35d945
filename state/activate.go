package state

// Activate makes the target the owner of the pod: the point of no return. The target proposes it when it
// has all of the pod, verified, and resumes the pod only once it sees it won. The first of Activate and
// Abort wins; the other is refused for ever.
//
// A repeated Activate wins again while its node still owns the pod at its epoch. A target that wakes up
// after the pod has moved on is refused.
type Activate struct {
	Migration string `json:"migration"`
	// Node proposes; it must be the migration's target.
	Node string `json:"node"`
	// Epoch is that of the migration's record.
	Epoch uint64 `json:"epoch"`
}

// Kind implements [Command].
func (Activate) Kind() Kind { return KindActivate }

func (c Activate) apply(m *Machine) Result {
	g, reason := m.migrationTo(c.Migration, c.Node)
	if reason != "" {
		return refused("%s", reason)
	}
	if g.Epoch != c.Epoch {
		return m.lost(g.Pod, g.ID, "%s is for epoch %d, not %d", g, g.Epoch, c.Epoch)
	}
	switch g.Phase {
	case Reserved:
		pod := m.t.pods[g.Pod]
		pod.Node, pod.Epoch = g.Target, g.Epoch
		m.putPod(pod)
		m.placeVolumes(pod)
		g.Phase = Activated
		m.putMigration(g)
		return m.won(g.Pod, g.ID)
	case Activated, Done:
		if m.View().Owns(c.Node, g.UID, c.Epoch) {
			return m.won(g.Pod, g.ID)
		}
		return m.lost(g.Pod, g.ID, "%s is over, and pod %s is no longer at %s in epoch %d", g, g.Pod, c.Node, c.Epoch)
	default:
		return m.lost(g.Pod, g.ID, "%s is over: %s: %s", g, g.Phase, g.Reason)
	}
}
