package pod

import (
	"fmt"
	"maps"
	"slices"
)

// field says what a manifest may hold at one place.
type field struct {
	members map[string]*field // of a mapping
	items   *field            // of a sequence
	open    bool              // anything below is fine: labels, annotations, lists of strings
	only    []any             // besides what is unset: just these values, which ask for what happens anyway
}

func supported() *field {
	anything := &field{open: true}
	off := &field{only: []any{false}}
	quantities := &field{members: map[string]*field{"cpu": anything, "memory": anything}}
	container := &field{members: map[string]*field{
		"name": anything, "image": anything, "command": anything, "args": anything, "workingDir": anything,
		"imagePullPolicy": {only: []any{"IfNotPresent", "Never"}},
		"env":             {items: &field{members: map[string]*field{"name": anything, "value": anything}}},
		"resources":       {members: map[string]*field{"limits": quantities, "requests": quantities}},
		// In Kubernetes too a containerPort opens nothing; a hostPort would.
		"ports": {items: &field{members: map[string]*field{"name": anything, "containerPort": anything, "protocol": anything}}},
		"stdin": off, "tty": off,
	}}
	return &field{members: map[string]*field{
		"apiVersion": anything, "kind": anything,
		"metadata": {members: map[string]*field{"name": anything, "labels": anything, "annotations": anything}},
		"spec": {members: map[string]*field{
			"containers": {items: container}, "initContainers": {items: container}, "restartPolicy": anything, "hostname": anything,
			"terminationGracePeriodSeconds": anything, "nodeName": anything,
			"hostNetwork": off, "hostPID": off, "hostIPC": off, "shareProcessNamespace": off,
			"automountServiceAccountToken": off, "enableServiceLinks": off,
		}},
	}}
}

// refuse reports every field that is set and would not be honoured. strange holds the paths that Kubernetes itself doesn't
// know, which have been reported already.
func (e *ManifestError) refuse(document map[string]any, strange map[string]bool) {
	e.walk("", document, supported(), strange)
}

func (e *ManifestError) walk(at string, value any, allowed *field, strange map[string]bool) {
	if strange[at] || unset(value) {
		return
	}
	if allowed == nil {
		e.add(at, "not supported yet")
		return
	}
	if allowed.open {
		return
	}
	if allowed.only != nil {
		if !slices.Contains(allowed.only, value) {
			e.add(at, "%v is not supported yet", value)
		}
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			path := name
			if at != "" {
				path = at + "." + name
			}
			e.walk(path, value[name], allowed.members[name], strange)
		}
	case []any:
		for i, item := range value {
			e.walk(fmt.Sprintf("%s[%d]", at, i), item, allowed.items, strange)
		}
	}
}

// unset tells whether a value says nothing, as in what `kubectl --dry-run -o yaml` writes: null, "", {} or [].
func unset(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}
