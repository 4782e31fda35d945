package agent

import (
	"fmt"
	"strings"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
)

// originOf is how a pod's present life began, as it is told.
func originOf(o *state.Origin) *api.Origin {
	if o == nil {
		return nil
	}
	return &api.Origin{Epoch: o.Epoch, From: o.From, Kind: string(o.Kind), Move: o.Move, At: o.At, Reason: o.Reason, Lost: o.Lost}
}

// lost says what becomes of a pod whose node is lost, or returns "" if that node is there.
func (b *backend) lost(p state.Pod) string {
	ready := b.ready()
	if ready(p.Node) == "" {
		return ""
	}
	return fate(b.quorum.View(), p, ready)
}

// fate is what becomes of a pod whose node can't be heard of.
func fate(v state.View, p state.Pod, ready readiness) string {
	switch {
	case p.Deleting:
		return fmt.Sprintf("it is removed when %s is back", p.Node)
	case p.Stopped:
		return fmt.Sprintf("it is stopped, and waits for %s with all that it has", p.Node)
	case !p.NeedsLease():
		return fmt.Sprintf("it waits for %s: without the annotation drover.dev/failover it is started nowhere else", p.Node)
	}
	if g, _ := v.Migration(p.Migration); g.Phase == state.Activated && ready(g.Source) == "" {
		return fmt.Sprintf("if %s stays away until its lease has run out, it goes on at %s, from the copy that its move has left there", p.Node, g.Source)
	}
	d := state.Schedule(v, state.Request{Pod: &p, Fresh: true, Ready: ready})
	if d.Node != "" {
		return fmt.Sprintf("if %s stays away until its lease has run out, it is started on %s", p.Node, d.Node)
	}
	var why []string
	for _, f := range d.Nodes {
		if f.Node != p.Node {
			why = append(why, f.Node+": "+strings.Join(f.Reasons, "; "))
		}
	}
	if len(why) == 0 {
		return "there is no other node to start it on"
	}
	return "no other node can take it, which is tried again and again: " + strings.Join(why, ", ")
}
