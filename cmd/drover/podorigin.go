package main

import (
	"fmt"

	"github.com/drover-mesh/drover/agent/api"
)

// ifLost says what becomes of a pod if its node is lost; nothing of one that waits for it, as pods do.
func ifLost(p api.Pod) string {
	if p.Failover == "" {
		return ""
	}
	return fmt.Sprintf("If %s is lost it is started elsewhere, and begins anew (drover.dev/failover: %s)\n", p.Node, p.Failover)
}

// originInShort says where a pod was failed over from, and from which state it went on.
func originInShort(o *api.Origin) string {
	if o == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s)", o.From, o.Kind)
}

// originFields say how a pod's present life began after the loss of a node.
func (c *cli) originFields(o *api.Origin) [][2]string {
	if o == nil {
		return nil
	}
	state := "its image: it began anew"
	if o.Kind == "frozen" {
		state = "the frozen copy that move " + o.Move + " had left; its TCP connections were closed"
	}
	return [][2]string{
		{"Failed over", fmt.Sprintf("from %s at %s, epoch %d", o.From, c.when(o.At), o.Epoch)}, {"Why", o.Reason},
		{"Went on from", state}, {"Lost", o.Lost},
	}
}
