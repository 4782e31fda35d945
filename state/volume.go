package state

import "slices"

// A Volume is a named directory that outlives the pods that use it. It lies on one node and moves with its pod.
type Volume struct {
	Name string `json:"name"`
	// Node has its files.
	Node string `json:"node"`
	// Pod is the UID of the one pod that uses it, "" if none does.
	Pod string `json:"pod,omitempty"`
}

// DeleteVolume removes the record of a volume that no pod uses. The agent of its node proposes it and then deletes the files:
// what is left of them after a crash belongs to no volume. One that isn't known is removed already.
type DeleteVolume struct {
	Name string `json:"name"`
	// Node proposes.
	Node string `json:"node"`
}

// Kind implements [Command].
func (DeleteVolume) Kind() Kind { return KindDeleteVolume }

func (c DeleteVolume) apply(m *Machine) Result {
	v, ok := m.t.volumes[c.Name]
	switch {
	case !ok:
		return Result{OK: true}
	case v.Pod != "":
		pod, _ := m.podByUID(v.Pod)
		return refused("volume %s is used by pod %s: remove that first", v.Name, pod.Name)
	case v.Node != c.Node:
		return refused("volume %s is at %s, not at %s", v.Name, v.Node, c.Node)
	}
	m.dropVolume(c.Name)
	return Result{OK: true}
}

// checkVolumes says why a new pod can't have its volumes at that node.
func (m *Machine) checkVolumes(pod string, needs Needs, node string) (reason string) {
	for _, name := range needs.Volumes {
		if reason := checkName("name of a volume of pod "+pod, name); reason != "" {
			return reason
		}
		v, ok := m.t.volumes[name]
		if !ok {
			continue
		}
		if user, used := m.podByUID(v.Pod); used {
			return "volume " + name + " is used by pod " + user.Name + ": one pod at a time can"
		}
		if v.Node != node {
			return "volume " + name + " is at " + v.Node + ", not at " + node + ": run the pod there"
		}
	}
	return ""
}

// placeVolumes records that a pod's volumes are where the pod is.
func (m *Machine) placeVolumes(pod Pod) {
	for _, name := range pod.Needs.Volumes {
		m.putVolume(Volume{Name: name, Node: pod.Node, Pod: pod.UID})
	}
}

// freeVolumes records that the pod uses its volumes no more; they stay where they are.
func (m *Machine) freeVolumes(pod Pod) {
	for _, name := range pod.Needs.Volumes {
		if v, ok := m.t.volumes[name]; ok && v.Pod == pod.UID {
			v.Pod = ""
			m.putVolume(v)
		}
	}
}

// Volumes returns all named volumes by name.
func (v View) Volumes() []Volume { return sorted(v.t.volumes) }

// Volume returns the volume of that name.
func (v View) Volume(name string) (Volume, bool) {
	volume, ok := v.t.volumes[name]
	return volume, ok
}

// VolumesAt returns the volumes of a node by name.
func (v View) VolumesAt(node string) []Volume {
	return slices.DeleteFunc(v.Volumes(), func(x Volume) bool { return x.Node != node })
}
