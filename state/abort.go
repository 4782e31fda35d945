package state

// Abort ends a migration before its Activate; the pod stays with its source. The source thaws only after
// an Abort of its was won. The first of Activate and Abort wins; the other is refused for ever. Twice is
// once.
type Abort struct {
	Migration string `json:"migration"`
	Reason    string `json:"reason"`
	// UID and Epoch (that which Activate would have given) may be left out by who knows that Reserve was
	// committed. With them an Abort also wins over a Reserve whose outcome is unknown and which may still
	// be on its way: it is refused when it comes.
	UID   string `json:"uid,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
}

// Kind implements [Command].
func (Abort) Kind() Kind { return KindAbort }

func (c Abort) apply(m *Machine) Result {
	g, ok := m.t.migrations[c.Migration]
	if !ok {
		return c.forestall(m)
	}
	switch g.Phase {
	case Reserved:
		pod := m.t.pods[g.Pod]
		pod.Migration = ""
		m.putPod(pod)
		m.finish(g, Aborted, c.Reason)
		return m.won(g.Pod, g.ID)
	case Aborted:
		return m.won(g.Pod, g.ID)
	default:
		return m.lost(g.Pod, g.ID, "%s can't be aborted: pod %s was activated at %s", g, g.Pod, g.Target)
	}
}

// forestall aborts a migration that isn't known. That may be because its Reserve has not come yet, or
// because it ended so long ago that it is forgotten. Only the pod can tell: while it is at the epoch before
// the migration's, no Activate of it was ever applied.
func (c Abort) forestall(m *Machine) Result {
	if reason := checkName("ID of the migration", c.Migration); reason != "" {
		return refused("%s", reason)
	}
	pod, ok := m.podByUID(c.UID)
	if !ok {
		return refused("there is no migration %s", c.Migration)
	}
	if pod.Epoch+1 != c.Epoch {
		return m.lost(pod.Name, "", "there is no migration %s, and pod %s is at %s in epoch %d", c.Migration, pod.Name, pod.Node, pod.Epoch)
	}
	m.finish(Migration{ID: c.Migration, Pod: pod.Name, UID: pod.UID, Source: pod.Node, Epoch: c.Epoch}, Aborted, c.Reason)
	return m.won(pod.Name, c.Migration)
}
