package pod

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// MissingControllers are the cgroup controllers that the pod's limits and requests need and this host lacks.
func (r *Runtime) MissingControllers(m *Manifest) []string {
	return slices.DeleteFunc(m.controllers(), func(name string) bool { return hasController(hierarchies, name) })
}

// controllers are those that the manifest's resources need.
func (m *Manifest) controllers() []string {
	needed := map[string]bool{}
	for _, c := range slices.Concat(m.pod.Spec.InitContainers, m.pod.Spec.Containers) {
		for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
			if _, ok := list[corev1.ResourceCPU]; ok {
				needed["cpu"] = true
			}
		}
		if _, ok := c.Resources.Limits[corev1.ResourceMemory]; ok {
			needed["memory"] = true
		}
	}
	return slices.DeleteFunc([]string{"cpu", "memory"}, func(name string) bool { return !needed[name] })
}

// hasController looks for a controller: cgroup v2 lists them, v1 has a hierarchy of each.
func hasController(hierarchies, name string) bool {
	if unified(hierarchies) {
		list, err := os.ReadFile(filepath.Join(hierarchies, "cgroup.controllers"))
		return err == nil && slices.Contains(strings.Fields(string(list)), name)
	}
	_, err := os.Stat(filepath.Join(hierarchies, name, "cgroup.procs"))
	return err == nil
}
