package state

import (
	"strings"
	"time"
)

// ForgetNode removes a node that takes part in no open migration and has no pods and volumes, and voids its
// certificates: it can come back only by joining anew. A node that isn't known is forgotten already.
type ForgetNode struct {
	Name string `json:"name"`
	// DeletePods removes its pods and volumes too: of a host that is lost, with all that they had.
	DeletePods bool `json:"deletePods,omitempty"`
	// At is the proposer's time. Without it the node's certificates are remembered as void for ever.
	At time.Time `json:"at,omitzero"`
}

// Kind implements [Command].
func (ForgetNode) Kind() Kind { return KindForgetNode }

func (c ForgetNode) apply(m *Machine) Result {
	v := m.View()
	for _, g := range v.Migrations() {
		if g.Phase.Open() && (g.Source == c.Name || g.Target == c.Name) {
			return refused("node %s takes part in %s", c.Name, g)
		}
	}
	var owned []string
	for _, pod := range v.Pods() {
		if pod.Node == c.Name {
			owned = append(owned, pod.Name)
		}
	}
	volumes := v.VolumesAt(c.Name)
	switch {
	case len(owned) > 0 && !c.DeletePods:
		return refused("node %s still has %s: move or remove them first", c.Name, strings.Join(owned, ", "))
	case len(volumes) > 0 && !c.DeletePods:
		return refused("node %s still has volume %s: remove it first, or move it with its pod", c.Name, volumes[0].Name)
	}
	if !writable(c.At) {
		return refused("the time at which node %s is removed is not within the years 0 to 9999", c.Name)
	}
	for _, name := range owned {
		m.dropPod(name)
	}
	for _, volume := range volumes {
		m.dropVolume(volume.Name)
	}
	for _, pod := range v.Pods() {
		if pod.DrainedFrom == c.Name && pod.Node != c.Name {
			pod.DrainedFrom = ""
			m.putPod(pod)
		}
	}
	m.expel(c.Name, c.At)
	m.dropNode(c.Name)
	return Result{OK: true}
}
