package pod

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

func (e *ManifestError) validateContainer(at string, m *Manifest, c *corev1.Container, volumes map[string]bool) {
	if c.Image == "" {
		e.add(at+".image", "required")
	}
	if c.WorkingDir != "" && !strings.HasPrefix(c.WorkingDir, "/") {
		e.add(at+".workingDir", "%q is not an absolute path", c.WorkingDir)
	}
	oneOf(e, at+".imagePullPolicy", c.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	for i := range c.Env {
		e.validateEnv(fmt.Sprintf("%s.env[%d]", at, i), m, c, &c.Env[i])
	}
	e.validatePorts(at+".ports", c.Ports)
	e.validateResources(at+".resources", c.Resources)
	e.validateMounts(at+".volumeMounts", c.VolumeMounts, volumes)
	e.validateProbe(at+".startupProbe", c.StartupProbe, c.Ports, 1)
	e.validateProbe(at+".livenessProbe", c.LivenessProbe, c.Ports, 1)
	e.validateProbe(at+".readinessProbe", c.ReadinessProbe, c.Ports, 0)
}

func (e *ManifestError) validatePorts(at string, ports []corev1.ContainerPort) {
	names := map[string]bool{}
	for i, p := range ports {
		field := fmt.Sprintf("%s[%d]", at, i)
		e.check(field+".containerPort", validation.IsValidPortNum(int(p.ContainerPort)))
		oneOf(e, field+".protocol", p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		if p.Name != "" {
			e.check(field+".name", validation.IsValidPortName(p.Name))
			e.unique(field+".name", p.Name, names)
		}
	}
}

func (e *ManifestError) validateResources(at string, r corev1.ResourceRequirements) {
	for _, name := range slices.Sorted(maps.Keys(r.Limits)) {
		field, limit := fmt.Sprintf("%s.limits.%s", at, name), r.Limits[name]
		if limit.Sign() <= 0 {
			e.add(field, "%s is not positive", limit.String())
		}
		e.bound(field, name, limit)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		field, request := fmt.Sprintf("%s.requests.%s", at, name), r.Requests[name]
		if request.Sign() < 0 {
			e.add(field, "%s is negative", request.String())
		}
		e.bound(field, name, request)
		if limit, ok := r.Limits[name]; ok && request.Cmp(limit) > 0 {
			e.add(field, "%s exceeds the limit %s", request.String(), limit.String())
		}
	}
	if memory, ok := r.Limits[corev1.ResourceMemory]; ok && memory.Sign() > 0 && memory.Value() < minMemory {
		e.add(at+".limits.memory", "%s is less than the %d MiB that the start of a container takes", memory.String(), minMemory>>20)
	}
}

// validateMounts is given the names of the pod's volumes.
func (e *ManifestError) validateMounts(at string, mounts []corev1.VolumeMount, volumes map[string]bool) {
	paths := map[string]bool{}
	for i, m := range mounts {
		field := fmt.Sprintf("%s[%d]", at, i)
		if !volumes[m.Name] {
			e.add(field+".name", "there is no volume %q", m.Name)
		}
		where := path.Clean(m.MountPath)
		switch {
		case !path.IsAbs(m.MountPath):
			e.add(field+".mountPath", "%q is not an absolute path", m.MountPath)
		case where == "/" || where == "/dev" || where == "/dev/pts" || beneath(where, "/proc") || beneath(where, "/sys"):
			e.add(field+".mountPath", "%s is the container's own", where)
		case strings.Contains(where, ":"):
			e.add(field+".mountPath", "%q holds a colon", m.MountPath)
		}
		e.unique(field+".mountPath", where, paths)
		if path.IsAbs(m.SubPath) || slices.Contains(strings.Split(m.SubPath, "/"), "..") {
			e.add(field+".subPath", "%q leads out of the volume", m.SubPath)
		}
	}
}

func beneath(where, dir string) bool { return where == dir || strings.HasPrefix(where, dir+"/") }
