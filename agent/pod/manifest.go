package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// maxManifest bounds a manifest in bytes; Kubernetes itself stores at most 1.5 MiB an object.
const maxManifest = 1 << 20

// Manifest is a Kubernetes v1 Pod that has been found runnable here: every field that is set is honoured.
type Manifest struct {
	pod corev1.Pod
}

// ParseManifest decodes a v1 Pod, as YAML or JSON. It refuses a field that Kubernetes does not know, one that it knows
// and that is not supported yet, and a value that cannot work. The error is a *ManifestError that names all of them.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > maxManifest {
		return nil, problem("", "the manifest has %d bytes, at most %d are read", len(data), maxManifest)
	}
	document, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, problem("", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var fields map[string]any
	if err := json.Unmarshal(document, &fields); err != nil || fields == nil {
		return nil, problem("", "a Pod is expected, a mapping with apiVersion, kind, metadata and spec")
	}
	if fields["apiVersion"] != "v1" || fields["kind"] != "Pod" {
		return nil, problem("", "apiVersion v1 and kind Pod are expected, not %v %v", fields["apiVersion"], fields["kind"])
	}
	m := &Manifest{}
	unknown, err := kjson.UnmarshalStrict(document, &m.pod)
	if err != nil {
		return nil, problem("", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	var found ManifestError
	strange := map[string]bool{}
	for _, err := range unknown {
		var field kjson.FieldError
		if errors.As(err, &field) {
			strange[field.FieldPath()] = true
		}
		found.add("", "%s", err)
	}
	found.refuse(fields, strange)
	found.validate(&m.pod)
	if len(found.Problems) > 0 {
		return nil, &found
	}
	return m, nil
}

// ManifestError lists everything that is wrong with a manifest.
type ManifestError struct {
	Problems []Problem
}

// Problem is one thing that is wrong with a manifest.
type Problem struct {
	Field  string // path of the field, e.g. spec.containers[0].image, or "" for the document as a whole
	Reason string
}

func (p Problem) String() string {
	if p.Field == "" {
		return p.Reason
	}
	return p.Field + ": " + p.Reason
}

func (e *ManifestError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "the pod's manifest can't be used: " + strings.Join(lines, "; ")
}

func (e *ManifestError) add(field, format string, args ...any) {
	e.Problems = append(e.Problems, Problem{Field: field, Reason: fmt.Sprintf(format, args...)})
}

func problem(field, format string, args ...any) error {
	e := &ManifestError{}
	e.add(field, format, args...)
	return e
}

// validate reports values that are understood and can't work.
func (e *ManifestError) validate(pod *corev1.Pod) {
	e.check("metadata.name", validation.IsDNS1123Subdomain(pod.Name))
	if pod.Spec.Hostname != "" {
		e.check("spec.hostname", validation.IsDNS1123Label(pod.Spec.Hostname))
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 {
		e.add("spec.terminationGracePeriodSeconds", "%d is negative", *grace)
	}
	switch pod.Spec.RestartPolicy {
	case "", corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever:
	default:
		e.add("spec.restartPolicy", "%q is none of Always, OnFailure, Never", pod.Spec.RestartPolicy)
	}
	if len(pod.Spec.Containers) == 0 {
		e.add("spec.containers", "at least one is required")
	}
	names := map[string]bool{}
	for kind, list := range map[string][]corev1.Container{"initContainers": pod.Spec.InitContainers, "containers": pod.Spec.Containers} {
		for i := range list {
			at := fmt.Sprintf("spec.%s[%d]", kind, i)
			e.validateContainer(at, &list[i])
			if names[list[i].Name] {
				e.add(at+".name", "%q is the name of another container too", list[i].Name)
			}
			names[list[i].Name] = true
		}
	}
}

func (e *ManifestError) validateContainer(at string, c *corev1.Container) {
	e.check(at+".name", validation.IsDNS1123Label(c.Name))
	if c.Image == "" {
		e.add(at+".image", "required")
	}
	if len(c.Command) == 0 {
		e.add(at+".command", "required: images here carry no entrypoint")
	}
	if c.WorkingDir != "" && !strings.HasPrefix(c.WorkingDir, "/") {
		e.add(at+".workingDir", "%q is not an absolute path", c.WorkingDir)
	}
	for i, v := range c.Env {
		e.check(fmt.Sprintf("%s.env[%d].name", at, i), validation.IsEnvVarName(v.Name))
	}
	for name, limit := range c.Resources.Limits {
		if limit.Sign() <= 0 {
			e.add(fmt.Sprintf("%s.resources.limits.%s", at, name), "%s is not positive", limit.String())
		}
	}
	for name, request := range c.Resources.Requests {
		field := fmt.Sprintf("%s.resources.requests.%s", at, name)
		if request.Sign() < 0 {
			e.add(field, "%s is negative", request.String())
		}
		if limit, ok := c.Resources.Limits[name]; ok && request.Cmp(limit) > 0 {
			e.add(field, "%s exceeds the limit %s", request.String(), limit.String())
		}
	}
}

func (e *ManifestError) check(field string, wrong []string) {
	for _, reason := range wrong {
		e.add(field, "%s", reason)
	}
}

// Name is the pod's name.
func (m *Manifest) Name() string { return m.pod.Name }

// NodeName is the node that the manifest asks for, or "".
func (m *Manifest) NodeName() string { return m.pod.Spec.NodeName }

// Hostname is what the pod sees as its host's name: the manifest's hostname, else the pod's name.
func (m *Manifest) Hostname() string {
	if m.pod.Spec.Hostname != "" {
		return m.pod.Spec.Hostname
	}
	name := strings.ReplaceAll(m.pod.Name, ".", "-")
	return strings.TrimRight(name[:min(len(name), 63)], "-")
}

// RestartPolicy is Always, OnFailure or Never; Always when the manifest doesn't say, as in Kubernetes.
func (m *Manifest) RestartPolicy() string {
	if m.pod.Spec.RestartPolicy == "" {
		return string(corev1.RestartPolicyAlways)
	}
	return string(m.pod.Spec.RestartPolicy)
}

// GracePeriod is the time between SIGTERM and SIGKILL; 30 s when the manifest doesn't say, as in Kubernetes.
func (m *Manifest) GracePeriod() time.Duration {
	if grace := m.pod.Spec.TerminationGracePeriodSeconds; grace != nil {
		return time.Duration(min(*grace, 1<<31)) * time.Second
	}
	return corev1.DefaultTerminationGracePeriodSeconds * time.Second
}

// MarshalJSON gives the manifest as a v1 Pod.
func (m *Manifest) MarshalJSON() ([]byte, error) { return json.Marshal(&m.pod) }

// UnmarshalJSON is ParseManifest.
func (m *Manifest) UnmarshalJSON(data []byte) error {
	parsed, err := ParseManifest(data)
	if err != nil {
		return err
	}
	*m = *parsed
	return nil
}

// Wanted is a container as the manifest asks for it.
type Wanted struct {
	Name       string
	Init       bool   // runs once, to its end, before those that are not
	Image      string // as the manifest names it
	PullPolicy string // Always, IfNotPresent, Never, or "" for the default
}

// Containers are the pod's containers, the init containers first.
func (m *Manifest) Containers() []Wanted {
	var all []Wanted
	for i, list := range [][]corev1.Container{m.pod.Spec.InitContainers, m.pod.Spec.Containers} {
		for _, c := range list {
			all = append(all, Wanted{Name: c.Name, Init: i == 0, Image: c.Image, PullPolicy: string(c.ImagePullPolicy)})
		}
	}
	return all
}

// container finds one by its name, nil if there is none.
func (m *Manifest) container(name string) *corev1.Container {
	for _, list := range [][]corev1.Container{m.pod.Spec.InitContainers, m.pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
