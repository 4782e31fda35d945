package pod

import (
	"fmt"
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// keyed is a field path that picks one label or annotation.
var keyed = regexp.MustCompile(`^metadata\.(labels|annotations)\['([^']+)'\]$`)

// namespace is the one in which all pods are.
const namespace = "default"

// downward is a value that a variable takes from the pod itself. What it can be was validated.
func (s Spec) downward(c *corev1.Container, from *corev1.EnvVarSource) string {
	if ref := from.ResourceFieldRef; ref != nil {
		quantity, _ := s.Manifest.resourceOf(c, ref)
		return strconv.FormatInt(divide(quantity, ref.Divisor), 10)
	}
	if from.FieldRef == nil {
		return ""
	}
	meta := &s.Manifest.pod.ObjectMeta
	if match := keyed.FindStringSubmatch(from.FieldRef.FieldPath); match != nil {
		if match[1] == "labels" {
			return meta.Labels[match[2]]
		}
		return meta.Annotations[match[2]]
	}
	switch from.FieldRef.FieldPath {
	case "metadata.name":
		return meta.Name
	case "metadata.namespace":
		return namespace
	case "metadata.uid":
		return s.UID
	}
	return s.Address.String() // status.podIP, status.podIPs
}

// resourceOf is a limit or request that the manifest states; what it leaves open is the node's, and changes with it.
func (m *Manifest) resourceOf(c *corev1.Container, ref *corev1.ResourceFieldSelector) (q resource.Quantity, ok bool) {
	if ref.ContainerName != "" {
		c = m.container(ref.ContainerName)
	}
	if c == nil {
		return q, false
	}
	limits, requests := c.Resources.Limits, c.Resources.Requests
	switch ref.Resource {
	case "limits.cpu":
		q, ok = limits[corev1.ResourceCPU]
	case "limits.memory":
		q, ok = limits[corev1.ResourceMemory]
	case "requests.cpu":
		if q, ok = requests[corev1.ResourceCPU]; !ok {
			q, ok = limits[corev1.ResourceCPU]
		}
	case "requests.memory":
		if q, ok = requests[corev1.ResourceMemory]; !ok {
			q, ok = limits[corev1.ResourceMemory]
		}
	}
	return q, ok
}

// divide rounds up, as Kubernetes does. Processors are counted in thousandths if the divisor is less than one.
func divide(q, by resource.Quantity) int64 {
	if by.IsZero() {
		by = resource.MustParse("1")
	}
	if by.MilliValue() < 1000 {
		return ceil(q.MilliValue(), by.MilliValue())
	}
	return ceil(q.Value(), by.Value())
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

func (e *ManifestError) validateEnv(at string, m *Manifest, c *corev1.Container, v *corev1.EnvVar) {
	e.check(at+".name", validation.IsEnvVarName(v.Name))
	from := v.ValueFrom
	if from == nil {
		return
	}
	if v.Value != "" {
		e.add(at, "value and valueFrom exclude each other")
	}
	if ref := from.FieldRef; ref != nil {
		e.validateFieldRef(at+".valueFrom.fieldRef", ref)
	}
	if ref := from.ResourceFieldRef; ref != nil {
		at := at + ".valueFrom.resourceFieldRef"
		if _, ok := m.resourceOf(c, ref); !ok {
			e.add(at+".resource", "%q is not stated for that container: limits.cpu, limits.memory, requests.cpu and requests.memory are supported, "+
				"and what a manifest leaves open changes with the node", ref.Resource)
		}
		if ref.Divisor.Sign() < 0 || !ref.Divisor.IsZero() && ref.Divisor.MilliValue() == 0 {
			e.add(at+".divisor", "%s can't divide anything", ref.Divisor.String())
		}
		e.bound(at+".divisor", corev1.ResourceMemory, ref.Divisor)
	}
}

func (e *ManifestError) validateFieldRef(at string, ref *corev1.ObjectFieldSelector) {
	if ref.APIVersion != "" && ref.APIVersion != "v1" {
		e.add(at+".apiVersion", "%q is not v1", ref.APIVersion)
	}
	if keyed.MatchString(ref.FieldPath) {
		return
	}
	switch ref.FieldPath {
	case "metadata.name", "metadata.namespace", "metadata.uid", "status.podIP", "status.podIPs":
	case "spec.nodeName", "status.hostIP", "status.hostIPs":
		e.add(at+".fieldPath", "%s is not supported: %s", ref.FieldPath, nodesOwn)
	case "spec.serviceAccountName":
		e.add(at+".fieldPath", "%s is not supported: %s", ref.FieldPath, noAccounts)
	default:
		e.add(at+".fieldPath", "%s", fmt.Sprintf("%q is not supported; these are: metadata.name, metadata.namespace, metadata.uid, "+
			"metadata.labels['KEY'], metadata.annotations['KEY'], status.podIP, status.podIPs", ref.FieldPath))
	}
}
