package state

// MarkDeleting records the wish that a pod be removed. Its owner acts on it, also if that owner is off the
// mesh just now; an open migration goes on to its end first.
type MarkDeleting struct {
	Name string `json:"name"`
	// UID may be empty: whichever pod has the name. With it, a pod made later under the same name is safe.
	UID string `json:"uid,omitempty"`
}

// Kind implements [Command].
func (MarkDeleting) Kind() Kind { return KindMarkDeleting }

func (c MarkDeleting) apply(m *Machine) Result {
	pod, ok := m.t.pods[c.Name]
	if !ok || c.UID != "" && pod.UID != c.UID {
		return refused("%s", unknownPod(c.Name))
	}
	pod.Deleting = true
	m.putPod(pod)
	return m.won(pod.Name, "")
}

// DeletePod removes the record of a pod and frees its address. The owner's agent proposes it once nothing
// of the pod is left on its node. A pod that isn't known is removed already.
type DeletePod struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Kind implements [Command].
func (DeletePod) Kind() Kind { return KindDeletePod }

func (c DeletePod) apply(m *Machine) Result {
	pod, ok := m.t.pods[c.Name]
	if !ok || pod.UID != c.UID {
		return Result{OK: true}
	}
	if pod.Migration != "" {
		return m.lost(pod.Name, pod.Migration, "pod %s is moving: %s has to end first", pod.Name, m.t.migrations[pod.Migration])
	}
	m.freeVolumes(pod)
	m.dropPod(pod.Name)
	return Result{OK: true}
}
