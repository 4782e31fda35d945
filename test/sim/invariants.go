package sim

import (
	"fmt"

	"github.com/drover-mesh/drover/state"
)

// The rules, as they are named when one doesn't hold.
const (
	ruleTwo     = "at most one copy runs"
	ruleOwner   = "only the owner runs a pod, at its epoch"
	ruleEpochs  = "epochs only grow, and each has one owner"
	ruleDigest  = "memory at the restore is memory at the freeze"
	ruleLost    = "nothing acknowledged is lost by a move"
	ruleHealed  = "after healing exactly one copy runs, or the loss is reported"
	ruleLeftBy  = "nothing is left behind"
	ruleSteps   = "every step can be done"
	ruleRetired = "the frozen copy stays until the pod runs at the target"
)

// runs says that the processes of a copy execute.
func (w *world) runs(n *node, c *copied) bool {
	return !c.frozen && !n.host.stopped[c.uid] && !c.gated && n.host.awake()
}

// acts says that the world can notice a copy: it runs, and the kernel lets its packets out.
func (w *world) acts(n *node, c *copied) bool {
	return w.runs(n, c) && !(w.leased[c.uid] && n.host.muted(c.uid))
}

// check holds the rules that must be true after every event.
func (w *world) check() {
	for _, c := range w.clients {
		w.checkCopies(c)
	}
}

// checkCopies allows one copy of a pod to run, at its owner, at its epoch. A pod that others may take over is stopped by its
// fence; where that was killed together with the agent, the kernel's mute has to do until one of them is back.
func (w *world) checkCopies(c *client) {
	var at []string
	for _, n := range w.nodes {
		for _, x := range n.host.copies {
			if x.uid != c.uid || !w.runs(n, x) {
				continue
			}
			if !w.acts(n, x) && n.fence.p.dead {
				w.seen.add(mutedAlone)
				continue
			}
			at = append(at, fmt.Sprintf("%s (epoch %d)", n.name, x.epoch))
			if v := w.log.view(); !v.Owns(n.name, x.uid, x.epoch) {
				pod, _ := v.Pod(c.pod)
				w.violated(ruleOwner, "%s runs at %s in epoch %d; the mesh has it at %s in epoch %d", c.pod, n.name, x.epoch, pod.Node, pod.Epoch)
			}
		}
	}
	if len(at) > 1 {
		w.violated(ruleTwo, "%s runs at %v", c.pod, at)
	}
}

// applied holds what is committed against the rules of epochs.
func (w *world) applied(c state.Command, r state.Result) {
	for _, pod := range w.log.view().Pods() {
		if pod.Epoch < w.epochs[pod.UID] {
			w.violated(ruleEpochs, "%s of %s went from epoch %d to %d", c.Kind(), pod.Name, w.epochs[pod.UID], pod.Epoch)
		}
		w.epochs[pod.UID] = pod.Epoch
		key := owned{pod.UID, pod.Epoch}
		if owner, ok := w.owners[key]; ok && owner != pod.Node {
			w.violated(ruleEpochs, "epoch %d of %s belonged to %s, and now to %s", pod.Epoch, pod.Name, owner, pod.Node)
		}
		w.owners[key] = pod.Node
	}
	w.count(c, r)
}

type owned struct {
	uid   string
	epoch uint64
}
