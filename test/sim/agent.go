package sim

import (
	"time"

	fences "github.com/drover-mesh/drover/agent/fence"
	"github.com/drover-mesh/drover/state"
)

// An agent is one life of a node's agent: all that it knows without asking its host or the mesh. It is the part that
// the drivers of package agent have around the decisions of packages state and decide.
type agent struct {
	n      *node
	lease  state.Lease
	synced bool            // it has caught up with the mesh since it began
	busy   map[string]bool // pods, by UID, that something is being done to
	moves  []*mover
	due    bool
}

// begin starts an agent.
func (n *node) begin() {
	n.agent.start()
	n.mind = &agent{n: n, busy: map[string]bool{}}
	n.index = n.w.d.Uint64N(n.index + 1) // what it had heard is gone, or older
	a := n.mind
	n.w.d.timer(n.agent, n.w.d.between(time.Millisecond, 50*time.Millisecond), "begins", func() {
		a.raiseFence()
		a.renew()
		a.poll()
		a.recover()
		a.catchUp()
	})
}

// catchUp asks the leader how far the mesh has come, and waits for that.
func (a *agent) catchUp() {
	a.n.w.log.sync(a.n, func() {
		a.synced = true
		a.changed()
	}, func() { a.n.w.d.timer(a.n.agent, time.Second, "catch up", a.catchUp) })
}

// poll looks after everything that nobody tells of.
func (a *agent) poll() {
	a.n.w.d.timer(a.n.agent, 500*time.Millisecond, "poll", a.poll)
	a.n.w.log.feed(a.n)
	a.raiseFence()
	a.changed()
}

// changed has the agent compare what it has with what it should have, soon.
func (a *agent) changed() {
	if a.due {
		return
	}
	a.due = true
	a.n.w.d.timer(a.n.agent, a.n.w.d.between(0, 20*time.Millisecond), "look", func() {
		a.due = false
		if !a.synced {
			return
		}
		a.lookAtMoves()
		a.lookAtPods()
	})
}

// leased counts a lease that was granted, and tells the fence and the kernel.
func (a *agent) leased(g state.Lease) {
	h := a.n.host
	left := g.Left(h.boot(), h.wall())
	if left <= a.lease.Left(h.boot(), h.wall()) {
		return
	}
	a.lease = g
	if !g.Valid(h.boot(), h.wall(), a.n.index) {
		return // it counts once the view has come as far, see lookAtPods
	}
	a.spread()
}

// spread tells the fence and the kernel when the lease ends.
func (a *agent) spread() {
	h, f := a.n.host, a.n.fence
	left := a.lease.Left(h.boot(), h.wall())
	if left <= 0 || !a.lease.Valid(h.boot(), h.wall(), a.n.index) {
		return
	}
	if !f.p.dead {
		f.renew(fences.Instant{Boot: h.boot() + left, Wall: h.wall().Add(left).UnixNano()})
	}
	for _, uid := range f.pods {
		h.mutes[uid] = h.uptime() + left
	}
}

// raiseFence starts the fence if it is gone.
func (a *agent) raiseFence() {
	if f := a.n.fence; f.p.dead {
		f.begin()
		for _, c := range a.n.host.copies {
			if a.n.w.leased[c.uid] {
				f.hold(c.uid)
			}
		}
		a.spread()
	}
}

// mayRun says whether a pod that needs it is under a lease and the fence, now.
func (a *agent) mayRun(pod state.Pod) bool {
	if !pod.NeedsLease() {
		return true
	}
	h, f := a.n.host, a.n.fence
	if f.p.dead || !a.lease.Valid(h.boot(), h.wall(), a.n.index) {
		return false
	}
	f.hold(pod.UID)
	a.spread()
	return f.holds(pod.UID) && f.valid()
}
