package sim

import (
	"slices"
	"time"

	"github.com/drover-mesh/drover/state"
)

// lookAtPods compares the copies on the host with what the mesh wants, as package agent does: pods of which nothing else
// is going on are started or go on, and what this node has of others is removed.
func (a *agent) lookAtPods() {
	n := a.n
	a.spread()
	mine := map[string]bool{}
	for _, d := range n.view().Duties(n.name) {
		mine[d.Pod.UID] = true
		if d.Role == state.Run && !a.busy[d.Pod.UID] && !a.moving(d.Pod.UID) {
			a.run(d.Pod)
		}
	}
	for _, c := range slices.Clone(n.host.copies) {
		if !mine[c.uid] && !a.busy[c.uid] && !a.moving(c.uid) {
			a.destroy(c, "the pod is not this node's")
		}
	}
}

// run sees to a pod that this node owns and that isn't moving.
func (a *agent) run(pod state.Pod) {
	h := a.n.host
	c := h.find(pod.UID)
	switch {
	case c != nil && !pod.Continues(c.epoch):
		a.destroy(c, "it is of an earlier life")
	case c == nil:
		a.begin(pod)
	case h.stopped[pod.UID] && a.mayRun(pod):
		if a.n.fence.thaw(pod.UID) {
			a.n.w.seen.add(fenceThawed)
			a.n.w.d.trace.note("%s thaws %s at epoch %d", a.n.fence.p.name, pod.Name, pod.Epoch)
		}
	case pod.NeedsLease():
		a.mayRun(pod) // under the fence, whoever runs it
	}
}

// begin starts a pod of which this host has no copy, if that loses nothing that nobody was told of.
func (a *agent) begin(pod state.Pod) {
	h := a.n.host
	spec := h.spec(pod.UID)
	switch {
	case beginsAnew(pod) && (spec == nil || spec.epoch < pod.Epoch):
		a.start(pod, bornOfFailover)
	case pod.Epoch == 1 && pod.Origin == nil && spec == nil:
		a.startIfOurs(pod)
	case pod.NeedsLease():
		a.startOver(pod)
	case spec != nil && spec.boots < h.boots:
		a.start(pod, bornOfReboot)
	default:
		a.n.w.report(pod, "its state is not on this host any more")
	}
}

// startIfOurs starts a pod of which nothing is here once this node has made sure that it has not just moved away: its own view
// may be older than the answer by which it ended the move.
func (a *agent) startIfOurs(pod state.Pod) {
	a.busy[pod.UID] = true
	end := func() { delete(a.busy, pod.UID) }
	a.n.w.log.sync(a.n, func() {
		end()
		if now, _ := a.n.view().Pod(pod.Name); now.Node == a.n.name && now.Epoch == pod.Epoch && now.Migration == "" {
			a.start(now, bornNew)
		}
	}, end)
}

// beginsAnew says that the mesh has decided to start this pod from its image.
func beginsAnew(pod state.Pod) bool {
	return pod.Origin != nil && pod.Origin.Kind == state.OriginImage && pod.Origin.Epoch == pod.Epoch
}

// start makes a copy from the pod's image.
func (a *agent) start(pod state.Pod, why birth) {
	if !a.mayRun(pod) {
		return
	}
	n := a.n
	a.busy[pod.UID] = true
	n.w.d.timer(n.agent, n.w.d.between(50*time.Millisecond, 800*time.Millisecond), "start "+pod.Name, func() {
		delete(a.busy, pod.UID)
		now, _ := n.view().Pod(pod.Name)
		if now.UID != pod.UID || now.Node != n.name || now.Epoch != pod.Epoch || !a.mayRun(pod) {
			return
		}
		n.host.clear(pod.UID)
		n.host.remember(pod.UID, pod.Epoch)
		n.host.add(&copied{uid: pod.UID, pod: pod.Name, epoch: pod.Epoch, life: n.w.bear(pod, why, n.host)})
		n.w.d.trace.note("%s starts %s at epoch %d: %s", n.name, pod.Name, pod.Epoch, why)
	})
}

// startOver tells the mesh that nothing is left of a pod that others would have taken over.
func (a *agent) startOver(pod state.Pod) {
	a.busy[pod.UID] = true
	a.n.w.log.propose(a.n, state.StartOver{UID: pod.UID, Node: a.n.name, Epoch: pod.Epoch, At: a.n.host.wall(), Reason: "the host was down"}, 5*time.Second,
		func(state.Result, bool) {
			delete(a.busy, pod.UID)
			a.changed()
		})
}

// destroy removes a copy, without a packet of it reaching anyone.
func (a *agent) destroy(c *copied, why string) {
	n := a.n
	n.w.d.trace.note("%s destroys its copy of %s: %s", n.name, c.pod, why)
	n.host.drop(c)
	n.fence.drop(c.uid)
	n.host.forget(c.uid)
}
