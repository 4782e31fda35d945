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
	if p.Failover == "" {
		return fmt.Sprintf("it waits for %s: without the annotation drover.dev/failover it is started nowhere else", p.Node)
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
