package state

import (
	"slices"
	"time"
)

// A Loss is what a leader knows when it fails pods over.
type Loss struct {
	// Nodes are those that it has given up.
	Nodes []string
	// Term is that of its reign.
	Term uint64
	At   time.Time
	// Ready says why a node can't take a pod just now, or "", as in [Request]. It may be nil.
	Ready func(node string) (why string)
}

// Stranded is a pod that nothing can be done for yet, and why, for people.
type Stranded struct {
	Pod    string
	Reason string
}

// Failovers decides what becomes of the pods of the nodes that were given up: one command a pod, [Failover] or
// [AbortAndFailover], in the order of the pods' names. Pods that no node can take are stranded; they, and pods that aren't to be
// failed over yet, are decided on again when something has changed.
func Failovers(v View, l Loss) (commands []Command, stranded []Stranded) {
	d := failing{Loss: l, view: v, planned: map[string]string{}, exclude: map[string]string{}}
	for _, node := range l.Nodes {
		d.exclude[node] = "it was given up: it does not renew its lease"
	}
	for _, pod := range v.Pods() {
		if !pod.NeedsLease() || !slices.Contains(l.Nodes, pod.Node) {
			continue
		}
		switch c, why := d.decide(pod); {
		case c != nil:
			commands = append(commands, c)
		case why != "":
			stranded = append(stranded, Stranded{pod.Name, why})
		}
	}
	return commands, stranded
}

// failing makes the decisions on one loss.
type failing struct {
	Loss
	view    View
	planned map[string]string
	exclude map[string]string
}

func (d failing) decide(pod Pod) (c Command, why string) {
	reason := "node " + pod.Node + " is lost: it has not renewed its lease"
	g, moving := d.view.Migration(pod.Migration)
	if moving && g.Phase == Activated && !slices.Contains(d.Nodes, g.Source) {
		d.planned[pod.UID] = g.Source
		return AbortAndFailover{
			Migration: g.ID, UID: pod.UID, Epoch: pod.Epoch, From: pod.Node, To: g.Source, Term: d.Term, At: d.At, Reason: reason,
		}, ""
	}
	if pod.Deleting || pod.Stopped {
		return nil, ""
	}
	to, why := d.place(pod)
	if why != "" {
		return nil, why
	}
	if moving {
		return AbortAndFailover{
			Migration: g.ID, UID: pod.UID, Epoch: pod.Epoch, From: pod.Node, To: to, SourceLost: g.Phase == Activated,
			Term: d.Term, At: d.At, Reason: reason,
		}, ""
	}
	return Failover{UID: pod.UID, Epoch: pod.Epoch, From: pod.Node, To: to, Term: d.Term, At: d.At, Reason: reason}, ""
}

// place chooses where the pod begins anew.
func (d failing) place(pod Pod) (node, why string) {
	decision := Schedule(d.view, Request{Pod: &pod, Fresh: true, Ready: d.Ready, Planned: d.planned, Exclude: d.exclude})
	if decision.Node == "" {
		return "", "no node can take it" + decision.reasons()
	}
	d.planned[pod.UID] = decision.Node
	return decision.Node, ""
}

// reasons lists why each node is out of the question.
func (d Decision) reasons() (text string) {
	for i, fit := range d.Nodes {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		for _, reason := range fit.Reasons {
			text += separator + fit.Node + ": " + reason
			separator = ", "
		}
	}
	return text
}
