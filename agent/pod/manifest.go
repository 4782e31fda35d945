package pod

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// maxManifest bounds a manifest in bytes; Kubernetes itself stores at most 1.5 MiB an object.
const maxManifest = 1 << 20

// maxGrace is some 68 years, in seconds.
const maxGrace = 1 << 31

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
	document, err := toJSON(data)
	if err != nil {
		return nil, problem("", "%s", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(document, &fields); err != nil || fields == nil {
		return nil, problem("", "a Pod is expected, a mapping with apiVersion, kind, metadata and spec")
	}
	if fields["apiVersion"] != "v1" || fields["kind"] != "Pod" {
		return nil, problem("", "apiVersion v1 and kind Pod are expected, not %v %v", fields["apiVersion"], fields["kind"])
	}
	var found ManifestError
	if found.implausible("", fields); len(found.Problems) > 0 {
		return nil, &found
	}
	m := &Manifest{}
	unknown, err := kjson.UnmarshalStrict(document, &m.pod)
	if err != nil {
		return nil, problem("", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	strange := map[string]bool{}
	for _, err := range unknown {
		var field kjson.FieldError
		if errors.As(err, &field) {
			strange[field.FieldPath()] = true
		}
		found.add("", "%s", err)
	}
	found.refuse(fields, strange)
	found.validate(m)
	if len(found.Problems) > 0 {
		return nil, &found
	}
	return m, nil
}

// toJSON turns the one document that a manifest holds into JSON.
func toJSON(data []byte) (document []byte, err error) {
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return document, nil
		}
		if err != nil {
			return nil, err
		}
		next, err := yaml.YAMLToJSONStrict(text)
		switch {
		case err != nil:
			reason := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:\n")
			return nil, errors.New(strings.TrimSpace(reason))
		case string(next) == "null": // comments at most
		case document != nil:
			return nil, errors.New("one Pod is expected, and there are more documents")
		default:
			document = next
		}
	}
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
		return time.Duration(min(*grace, maxGrace)) * time.Second
	}
	return corev1.DefaultTerminationGracePeriodSeconds * time.Second
}

// MarshalJSON gives the manifest as a v1 Pod.
func (m *Manifest) MarshalJSON() ([]byte, error) { return json.Marshal(&m.pod) }

// UnmarshalJSON takes what MarshalJSON gave. It has been found runnable once, maybe by an agent of another version, and isn't
// judged again.
func (m *Manifest) UnmarshalJSON(data []byte) error {
	var pod corev1.Pod
	if err := json.Unmarshal(data, &pod); err != nil {
		return fmt.Errorf("reading a manifest: %w", err)
	}
	m.pod = pod
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
