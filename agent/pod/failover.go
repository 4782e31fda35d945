package pod

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/drover-mesh/drover/state"
)

// failoverKey is the annotation that says what becomes of the pod when its node is lost.
const failoverKey = ownPrefix + "failover"

// Failover says what becomes of the pod when its node is lost; "" means that it waits for it.
func (m *Manifest) Failover() state.FailoverPolicy {
	return state.FailoverPolicy(m.pod.Annotations[failoverKey])
}

// ownAnnotations are all annotations that the mesh acts on, with the values that they may have.
func ownAnnotations() map[string][]string {
	return map[string][]string{failoverKey: {string(state.FailoverRestart)}}
}

// validateOwn refuses keys and values that look as if the mesh would act on them: a slip of the pen must not pass in silence.
func (e *ManifestError) validateOwn(m *Manifest) {
	const at = "metadata.annotations."
	known := ownAnnotations()
	for _, key := range ownKeys(m.pod.Annotations) {
		values, ok := known[key]
		switch value := m.pod.Annotations[key]; {
		case !ok:
			e.add(at+key, "unknown: of those that begin with %s there is %s", ownPrefix, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		case !slices.Contains(values, value):
			e.add(at+key, "%q is none of %s", value, strings.Join(values, ", "))
		}
	}
	for _, key := range ownKeys(m.pod.Labels) {
		if _, ok := known[key]; ok {
			e.add("metadata.labels."+key, "it is an annotation: put it into metadata.annotations")
			continue
		}
		e.add("metadata.labels."+key, "unknown: no label that begins with %s means anything yet", ownPrefix)
	}
	if m.Failover() == state.FailoverRestart {
		if why := m.stuck(); why != "" {
			e.add(at+failoverKey, "the pod can't be started on another node: %s", why)
		}
	}
}

func ownKeys(all map[string]string) []string {
	keys := slices.Sorted(maps.Keys(all))
	return slices.DeleteFunc(keys, func(key string) bool { return !strings.HasPrefix(key, ownPrefix) })
}

// stuck says why the pod can't do without its node, or returns "". A nodeName only asks where it begins.
func (m *Manifest) stuck() string {
	needs := m.Needs()
	switch {
	case needs.Pinned != "":
		return needs.Pinned
	case len(needs.Volumes) > 0:
		return fmt.Sprintf("what its volume %s holds is on one node only, and would be missing there", needs.Volumes[0])
	}
	return ""
}
