package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/drover-mesh/drover/state"
)

// Needs is what the pod asks of the node that runs it.
func (m *Manifest) Needs() state.Needs {
	spec := &m.pod.Spec
	n := state.Needs{Selector: spec.NodeSelector}
	// Init containers run one after the other, before all others run at once: Kubernetes' effective request.
	for i := range spec.Containers {
		cpu, memory := requests(&spec.Containers[i])
		n.CPU, n.Memory = n.CPU+cpu, n.Memory+memory
	}
	for i := range spec.InitContainers {
		cpu, memory := requests(&spec.InitContainers[i])
		n.CPU, n.Memory = max(n.CPU, cpu), max(n.Memory, memory)
	}
	for _, v := range m.Volumes() {
		switch v.Kind {
		case HostVolume:
			n.Pinned = fmt.Sprintf("its volume %s is the node's own directory %s", v.Name, v.Path)
		case NamedVolume:
			n.Volumes = append(n.Volumes, v.Claim)
		case DiskVolume, MemoryVolume:
		}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			if m.security(&list[i]).seccomp.Type == corev1.SeccompProfileTypeLocalhost {
				n.Pinned = fmt.Sprintf("the seccomp profile of container %s is the node's own", list[i].Name)
			}
		}
	}
	slices.Sort(n.Volumes)
	n.Volumes = slices.Compact(n.Volumes)
	return n
}

// requests are what a container asks for: thousandths of a core, and bytes. What has a limit only requests that.
func requests(c *corev1.Container) (cpu, memory int64) {
	asked := func(name corev1.ResourceName) (q int64) {
		quantity, ok := c.Resources.Requests[name]
		if !ok {
			quantity = c.Resources.Limits[name]
		}
		if name == corev1.ResourceCPU {
			return quantity.MilliValue()
		}
		return quantity.Value()
	}
	return asked(corev1.ResourceCPU), asked(corev1.ResourceMemory)
}
