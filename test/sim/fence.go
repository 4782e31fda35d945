package sim

import (
	"slices"
	"time"

	fences "github.com/drover-mesh/drover/agent/fence"
)

// A fence is the process of that name: it holds the pods that others may take over, and freezes them when it has not been
// told of a newer lease in time. It needs no agent. What it decides is decided by the guard of package fence.
type fence struct {
	n     *node
	p     *process
	guard *fences.Guard
	pods  []string // under it, by UID
	looks int
}

func newFence(n *node) *fence {
	return &fence{n: n, p: &process{name: n.name + "/fence", host: n.host, dead: true}}
}

// instant reads both clocks.
func (h *host) instant() fences.Instant {
	return fences.Instant{Boot: h.boot(), Wall: h.wall().UnixNano()}
}

// begin starts the process; it knows nothing of what an earlier one held.
func (f *fence) begin() {
	f.p.start()
	f.guard, f.pods = fences.NewGuard(), nil
	f.look()
}

// look has the guard freeze what must stand still, and again when the lease ends by either clock.
func (f *fence) look() {
	if f.p.dead {
		return
	}
	before := slices.DeleteFunc(slices.Clone(f.pods), func(uid string) bool { return f.n.host.stopped[uid] })
	again := f.guard.Look(f.n.host.instant())
	f.tell(before)
	if left := f.guard.Left(f.n.host.instant()); again == 0 && left > 0 {
		again = left
	}
	if again == 0 || again > time.Second {
		again = time.Second
	}
	f.looks++
	this := f.looks
	f.n.w.d.timer(f.p, f.n.host.in(again), "look", func() {
		if f.looks == this {
			f.look()
		}
	})
}

// tell notes which of these pods it has frozen just now.
func (f *fence) tell(pods []string) {
	for _, uid := range pods {
		if !f.n.host.stopped[uid] {
			continue
		}
		f.n.w.seen.add(fenceFired)
		if f.n.agent.dead {
			f.n.w.seen.add(fenceFiredAlone)
		}
		f.n.w.d.trace.note("%s freezes %s", f.p.name, uid)
	}
}

// renew tells it when the lease ends.
func (f *fence) renew(end fences.Instant) {
	f.guard.Renew(end, f.n.host.instant())
	f.look()
}

// hold puts a pod under the fence.
func (f *fence) hold(uid string) {
	if !f.holds(uid) {
		f.pods = append(f.pods, uid)
		f.guard.Hold(uid, []fences.Freezer{cgroup{f, uid}})
	}
	f.look()
}

// drop lets go of a pod, as it is.
func (f *fence) drop(uid string) {
	if f.holds(uid) {
		f.pods = slices.DeleteFunc(f.pods, func(x string) bool { return x == uid })
		f.guard.Drop(uid)
	}
}

func (f *fence) holds(uid string) bool { return !f.p.dead && slices.Contains(f.pods, uid) }

// thaw lifts the fence's own freeze, if there is a lease.
func (f *fence) thaw(uid string) bool {
	return f.holds(uid) && f.guard.Thaw(uid, f.n.host.instant()) == nil
}

// valid says whether it has been told of a lease that lasts.
func (f *fence) valid() bool { return !f.p.dead && f.guard.Left(f.n.host.instant()) > 0 }

// A cgroup is that of a pod as a whole. It is there as long as a copy is, and stays frozen if the fence dies.
type cgroup struct {
	f   *fence
	uid string
}

// Order implements [fences.Freezer].
func (c cgroup) Order(still bool) error {
	h := c.f.n.host
	if !h.has(c.uid) {
		return fences.ErrGone
	}
	h.stopped[c.uid] = still
	return nil
}

// Still implements [fences.Freezer].
func (c cgroup) Still() (bool, error) {
	if !c.f.n.host.has(c.uid) {
		return false, fences.ErrGone
	}
	return c.f.n.host.stopped[c.uid], nil
}

// Close implements [fences.Freezer].
func (cgroup) Close() {}
