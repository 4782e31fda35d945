package state

import (
	"cmp"
	"fmt"
	"slices"
)

// A Request asks where a pod may run.
type Request struct {
	// Pod is the one that shall move, nil for one that is yet to be made.
	Pod *Pod
	// Needs are those of a pod that is yet to be made. Of another its own count.
	Needs Needs
	// To is the node, or else the site, that was asked for; "" is any.
	To string
	// Ready says why a node can't take a pod just now, or "". It is for what only those know who hear of the node. nil
	// says "" of each.
	Ready func(node string) (why string)
	// Planned says where pods, by their UIDs, are about to be moved: they take room there although nothing is committed.
	Planned map[string]string
	// Fresh says that the pod begins anew from its image: what its processes have found on their host doesn't count.
	Fresh bool
	// Open is a node that is taken not to be cordoned, "" if none: it is about to be opened.
	Open string
	// Exclude are nodes that are out of the question, each with the reason.
	Exclude map[string]string
}

// A Decision says where a pod may run, and why.
type Decision struct {
	// Node is the best of those that fit, "" if none does.
	Node string
	// Nodes are all that were asked for: those that fit, the best first, then the others by name. None are asked for by the
	// name of no node or site.
	Nodes []Fit
}

// A Fit is what was found of one node.
type Fit struct {
	Node string
	Site string
	// Fits says that the pod may run there.
	Fits bool
	// Score is from 0, all of the node would be taken, to 100, nothing of it. It is 0 if the pod doesn't fit.
	Score int
	// Reasons say in words why the pod doesn't fit, all of them, or what the score comes from.
	Reasons []string

	near bool // at the site where the pod is
	pods int
}

// Schedule decides where a pod shall run: of the nodes that pass every filter on that with the highest score. Between
// equals it prefers the site where the pod is, then the node with fewer pods, then the first by name. Equal requests of
// equal views have equal answers.
//
// It knows what is recorded. Whether a node can really take a pod that runs, the preflight of its move finds out.
func Schedule(v View, r Request) Decision {
	s := scheduler{Request: r, view: v}
	if r.Pod != nil {
		s.Needs = r.Pod.Needs
		s.from, _ = v.Node(r.Pod.Node)
	}
	var d Decision
	for _, n := range v.asked(r.To) {
		d.Nodes = append(d.Nodes, s.fit(n))
	}
	slices.SortStableFunc(d.Nodes, func(a, b Fit) int {
		return cmp.Or(first(a.Fits, b.Fits), b.Score-a.Score, first(a.near, b.near), a.pods-b.pods)
	})
	if len(d.Nodes) > 0 && d.Nodes[0].Fits {
		d.Node = d.Nodes[0].Node
	}
	return d
}

// first orders what is so before what isn't.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// scheduler makes one decision.
type scheduler struct {
	Request
	view View
	from Node // that the pod would leave; the zero Node for a new one
}

// asked returns the nodes that go by the name of a node or else of a site; "" is any.
func (v View) asked(to string) []Node {
	if to == "" {
		return v.Nodes()
	}
	if n, ok := v.Node(to); ok {
		return []Node{n}
	}
	return v.NodesAt(to)
}

// uid is "" for a new pod.
func (s scheduler) uid() string {
	if s.Pod == nil {
		return ""
	}
	return s.Pod.UID
}

func (s scheduler) fit(n Node) Fit {
	f := Fit{Node: n.Name, Site: n.Site}
	taken := s.view.allocated(n.Name, s.uid(), s.Planned)
	for _, filter := range filters() {
		f.Reasons = append(f.Reasons, filter(s, n, taken)...)
	}
	if len(f.Reasons) > 0 {
		return f
	}
	taken.add(s.Needs)
	f.Fits, f.near, f.pods = true, n.Site == s.from.Site, taken.Pods
	f.Score, f.Reasons = score(n, taken)
	return f
}

// score is how much of the node would still be free, in percent: the mean of CPU and memory.
func score(n Node, taken Allocation) (int, []string) {
	if n.Capacity.CPU <= 0 || n.Capacity.Memory <= 0 {
		return 0, []string{fmt.Sprintf("%s with it; the node has not said what it has", count(taken.Pods, "pod"))}
	}
	cpu, memory := percent(taken.usual.CPU, n.Capacity.CPU), percent(taken.usual.Memory, n.Capacity.Memory)
	return 100 - (cpu+memory+1)/2, []string{
		fmt.Sprintf("%s with it, taking %d %% of the CPU and %d %% of the memory", count(taken.Pods, "pod"), cpu, memory),
	}
}

// percent is how much of whole that is, rounded, at most 100.
func percent(part, whole int64) int { return min(100, int(100*float64(part)/float64(whole)+0.5)) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
