package state

// StopPod records whether a pod shall stand still: its owner ends its processes, or starts it again. A pod that moves can't be
// stopped. Twice is once.
type StopPod struct {
	Name    string `json:"name"`
	UID     string `json:"uid"`
	Stopped bool   `json:"stopped"`
}

// Kind implements [Command].
func (StopPod) Kind() Kind { return KindStopPod }

func (c StopPod) apply(m *Machine) Result {
	pod, ok := m.t.pods[c.Name]
	switch {
	case !ok || pod.UID != c.UID:
		return refused("%s", unknownPod(c.Name))
	case pod.Migration != "":
		return m.lost(pod.Name, pod.Migration, "pod %s is moving: %s has to end first", pod.Name, m.t.migrations[pod.Migration])
	case pod.Deleting:
		return m.lost(pod.Name, "", "pod %s is being removed", pod.Name)
	}
	pod.Stopped = c.Stopped
	m.putPod(pod)
	return m.won(pod.Name, "")
}
