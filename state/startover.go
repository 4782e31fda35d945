package state

import "time"

// StartOver is the word of a pod's owner that nothing is left of the pod on its host, say after a reboot, or of the frozen copy
// from which it was to go on: it begins anew from its image, on the same node, at the next epoch. Only a pod with a failover
// policy does: of any other, the loss must not be hidden by a start. Twice is once.
type StartOver struct {
	UID string `json:"uid"`
	// Node proposes; it owns the pod, at Epoch.
	Node  string `json:"node"`
	Epoch uint64 `json:"epoch"`
	// At is the proposer's time.
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Kind implements [Command].
func (StartOver) Kind() Kind { return KindStartOver }

func (c StartOver) apply(m *Machine) Result {
	pod, ok := m.podByUID(c.UID)
	switch {
	case !ok:
		return refused("there is no pod with the UID %s", c.UID)
	case pod.began(c.Epoch+1, c.Node, c.Node, OriginImage, ""):
		return m.won(pod.Name, "")
	case pod.Node != c.Node || pod.Epoch != c.Epoch:
		return m.lost(pod.Name, pod.Migration, "pod %s is at %s in epoch %d, not at %s in epoch %d", pod.Name, pod.Node, pod.Epoch, c.Node, c.Epoch)
	case pod.Migration != "":
		return m.lost(pod.Name, pod.Migration, "pod %s is moving: %s has to end first", pod.Name, m.t.migrations[pod.Migration])
	case !pod.NeedsLease():
		return m.lost(pod.Name, "", "pod %s has no failover policy: it never begins anew by itself", pod.Name)
	case pod.Deleting:
		return m.lost(pod.Name, "", "pod %s is being removed", pod.Name)
	case !writable(c.At):
		return m.lost(pod.Name, "", "the time at which pod %s begins anew is not within the years 0 to 9999", pod.Name)
	}
	m.beginAnew(pod, c.Node, c.Epoch+1, Origin{From: c.Node, Kind: OriginImage, At: c.At, Reason: c.Reason})
	return m.won(pod.Name, "")
}
