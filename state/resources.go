package state

import (
	"cmp"
	"fmt"
	"strings"
)

// Resources are an amount of what pods request and nodes have.
type Resources struct {
	// CPU is in thousandths of a core.
	CPU int64 `json:"cpu"`
	// Memory is in bytes.
	Memory int64 `json:"memory"`
}

func (r Resources) plus(other Resources) Resources {
	return Resources{CPU: r.CPU + other.CPU, Memory: r.Memory + other.Memory}
}

// Bounds of what a pod may ask for: sums of many of them must not overflow, and the log keeps them.
const (
	maxRequest  = 1 << 50
	maxSelector = 64
	maxVolumes  = 64
)

// refusal says what is wrong with the needs of a new pod.
func (n Needs) refusal() string {
	switch {
	case n.CPU < 0 || n.CPU > maxRequest, n.Memory < 0 || n.Memory > maxRequest:
		return fmt.Sprintf("it requests %d thousandths of a core and %d bytes of memory", n.CPU, n.Memory)
	case len(n.Selector) > maxSelector:
		return fmt.Sprintf("its selector has %d labels: at most %d are kept", len(n.Selector), maxSelector)
	case len(n.Volumes) > maxVolumes:
		return fmt.Sprintf("it has %d volumes: at most %d are kept", len(n.Volumes), maxVolumes)
	case n.Pinned != clip(n.Pinned, maxReason):
		return "the reason that it can't leave its node is no text, or too long"
	}
	for key, value := range n.Selector {
		if len(key) > 2*maxName || len(value) > maxName || clip(key+value, 3*maxName) != key+value {
			return "its selector has a label that no node can have"
		}
	}
	return ""
}

// requests is what the pod asks for.
func (n Needs) requests() Resources { return Resources{CPU: n.CPU, Memory: n.Memory} }

// What a pod that requests nothing is taken to use, where nodes are compared: else one with a hundred such pods would be
// as good as an empty one. The amounts are kube-scheduler's (pkg/scheduler/util, DefaultMilliCPURequest and
// DefaultMemoryRequest).
const (
	usualCPU    = 100
	usualMemory = 200 << 20
)

func (n Needs) usual() Resources {
	return Resources{CPU: cmp.Or(n.CPU, usualCPU), Memory: cmp.Or(n.Memory, usualMemory)}
}

// Allocation is what pods take of a node.
type Allocation struct {
	Pods int
	// Requested is what these pods request.
	Requested Resources

	usual Resources
}

func (a *Allocation) add(n Needs) {
	a.Pods++
	a.Requested = a.Requested.plus(n.requests())
	a.usual = a.usual.plus(n.usual())
}

// Allocated says what is taken of a node: by the pods that it owns, by those that an open migration brings there, and
// by those that one takes away, whose frozen copy is there to the end.
func (v View) Allocated(node string) Allocation { return v.allocated(node, "", nil) }

// allocated leaves out the pod with that UID, and takes the pods of planned to be at the nodes that it names, too.
func (v View) allocated(node, uid string, planned map[string]string) Allocation {
	var a Allocation
	for _, pod := range v.t.pods {
		if pod.UID != uid && (v.holds(node, pod) || planned[pod.UID] == node) {
			a.add(pod.Needs)
		}
	}
	return a
}

// holds says whether the pod takes room of the node.
func (v View) holds(node string, pod Pod) bool {
	if pod.Node == node {
		return true
	}
	g, moving := v.t.migrations[pod.Migration]
	return moving && (g.Source == node || g.Target == node)
}

// lacks says what a node of which that much is taken lacks for a pod, or returns "". A node that has not said what it
// has lacks nothing.
func (n Node) lacks(taken Resources, needs Needs) (reason string) {
	want, has := taken.plus(needs.requests()), n.Capacity
	var lack []string
	if has.CPU > 0 && needs.CPU > 0 && want.CPU > has.CPU {
		lack = append(lack, fmt.Sprintf("%s CPU is requested, and %s of %s is free", cores(needs.CPU), cores(max(0, has.CPU-taken.CPU)), cores(has.CPU)))
	}
	if has.Memory > 0 && needs.Memory > 0 && want.Memory > has.Memory {
		lack = append(lack, fmt.Sprintf("%s of memory is requested, and %s of %s is free",
			binary(needs.Memory), binary(max(0, has.Memory-taken.Memory)), binary(has.Memory)))
	}
	return strings.Join(lack, "; ")
}

// cores writes thousandths of a core as Kubernetes does: "2" or "250m".
func cores(milli int64) string {
	if milli%1000 == 0 {
		return fmt.Sprint(milli / 1000)
	}
	return fmt.Sprintf("%dm", milli)
}

// binary writes an amount of memory with a binary unit, rounded.
func binary(n int64) string {
	switch {
	case n == 0:
		return "0"
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", (n+1<<29)>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", (n+1<<19)>>20)
	default:
		return fmt.Sprintf("%d KiB", (n+1<<9)>>10)
	}
}
