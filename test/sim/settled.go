package sim

import (
	"fmt"
	"time"
)

// settleWithin is how long a mesh may take, once everything works again, until every move is over and every pod runs. The
// longest that anything waits by design is a minute: a source for a target that says nothing.
const settleWithin = 150 * time.Second

// unsettled says what is not as it should be in the end, or returns "".
func (w *world) unsettled() string {
	for _, g := range w.log.view().Migrations() {
		if g.Phase.Open() {
			return fmt.Sprintf("%s is %s", g, g.Phase)
		}
	}
	for _, n := range w.nodes {
		if left := n.left(); left != "" {
			return left
		}
	}
	for _, c := range w.clients {
		if why := w.served(c); why != "" {
			return why
		}
	}
	return ""
}

// left says what a node has that nobody needs.
func (n *node) left() string {
	for _, f := range n.host.disk.files {
		if _, spec := f.lines[0].(spec); !spec {
			return fmt.Sprintf("journal %s is left at %s", f.name, n.name)
		}
	}
	for id := range n.host.images {
		return fmt.Sprintf("images of move %s are left at %s", id, n.name)
	}
	for _, c := range n.host.copies {
		if c.gated {
			return fmt.Sprintf("a copy of %s waits at the gate of %s", c.pod, n.name)
		}
	}
	return ""
}

// served says why a pod does not run as it should, or returns "". One of which nothing is left is served by a report.
func (w *world) served(c *client) string {
	pod, _ := w.log.view().Pod(c.pod)
	var at []string
	for _, n := range w.nodes {
		for _, x := range n.host.copies {
			if x.uid == c.uid {
				at = append(at, fmt.Sprintf("%s (epoch %d, frozen %t, fenced %t)", n.name, x.epoch, x.frozen, n.host.stopped[x.uid]))
				if len(at) == 1 && n.name == pod.Node && w.acts(n, x) {
					continue
				}
			}
		}
	}
	owner := w.node(pod.Node)
	running := owner.host.find(c.uid)
	switch {
	case len(at) == 1 && running != nil && w.acts(owner, running):
		return ""
	case len(at) == 0 && w.reported[c.uid] && !w.leased[c.uid]:
		return ""
	}
	return fmt.Sprintf("%s belongs to %s in epoch %d, and there are copies at %v", c.pod, pod.Node, pod.Epoch, at)
}
