package state

// Reserve opens a migration. It binds the pod, so that no other migration of it can begin, and changes
// nothing about who owns it. A target that is cordoned or has no room for what the pod requests is refused. Twice is once.
type Reserve struct {
	// Migration is the new migration's ID, unique for ever.
	Migration string `json:"migration"`
	Pod       string `json:"pod"`
	Source    string `json:"source"`
	Target    string `json:"target"`
	// Epoch is the pod's when that was decided, 0 if whichever: with it a Reserve that comes late, when the pod has been elsewhere and is
	// back, binds nothing.
	Epoch uint64 `json:"epoch,omitempty"`
}

// Kind implements [Command].
func (Reserve) Kind() Kind { return KindReserve }

func (c Reserve) apply(m *Machine) Result {
	if reason := checkName("ID of the migration", c.Migration); reason != "" {
		return refused("%s", reason)
	}
	if g, ok := m.t.migrations[c.Migration]; ok {
		return c.again(m, g)
	}
	pod, ok := m.t.pods[c.Pod]
	if !ok {
		return refused("%s", unknownPod(c.Pod))
	}
	switch {
	case pod.Migration != "":
		return m.lost(pod.Name, pod.Migration, "pod %s is moving already: %s", pod.Name, m.t.migrations[pod.Migration])
	case pod.Deleting:
		return m.lost(pod.Name, "", "pod %s is being removed", pod.Name)
	case pod.Stopped:
		return m.lost(pod.Name, "", "pod %s is stopped: start it first", pod.Name)
	case pod.Node != c.Source:
		return m.lost(pod.Name, "", "pod %s is at %s, not at %s", pod.Name, pod.Node, c.Source)
	case c.Epoch != 0 && pod.Epoch != c.Epoch:
		return m.lost(pod.Name, "", "pod %s is at %s in epoch %d, not %d", pod.Name, pod.Node, pod.Epoch, c.Epoch)
	case c.Target == c.Source:
		return m.lost(pod.Name, "", "pod %s is at %s already", pod.Name, c.Target)
	case pod.Needs.Pinned != "":
		return m.lost(pod.Name, "", "pod %s can't leave %s: %s", pod.Name, pod.Node, pod.Needs.Pinned)
	}
	if reason := m.closed(c.Target, pod.UID, pod.Needs); reason != "" {
		return m.lost(pod.Name, "", "%s", reason)
	}
	m.putMigration(Migration{
		ID: c.Migration, Pod: pod.Name, UID: pod.UID, Source: c.Source, Target: c.Target,
		Epoch: pod.Epoch + 1, Phase: Reserved, Drain: m.t.nodes[c.Source].Cordoned,
	})
	pod.Migration = c.Migration
	m.putPod(pod)
	return m.won(pod.Name, c.Migration)
}

// again answers a Reserve whose ID is known: a duplicate, or one that an Abort has overtaken.
func (c Reserve) again(m *Machine, g Migration) Result {
	switch {
	case g.Phase == Aborted:
		return m.lost(g.Pod, g.ID, "migration %s was aborted: %s", g.ID, g.Reason)
	case g.Pod != c.Pod || g.Source != c.Source || g.Target != c.Target:
		return m.lost(g.Pod, g.ID, "there is another migration with this ID: %s, of pod %s", g, g.Pod)
	case !g.Phase.Open():
		return m.lost(g.Pod, g.ID, "%s is over: %s", g, g.Phase)
	}
	return m.won(g.Pod, g.ID)
}
