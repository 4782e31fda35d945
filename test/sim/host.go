package sim

import (
	"slices"
	"time"
)

// A host is a kernel and what it holds: copies of pods, the images of moves, and a disk. What is on the disk and was
// synced survives its loss, all else doesn't. Its copies live on when its agent or its fence dies.
type host struct {
	clock
	name    string
	kernel  *process // what runs without agent and fence
	up      bool
	boots   int
	asleep  bool
	since   time.Duration // with asleep
	paused  bool          // with asleep
	slept   time.Duration // in all, since the boot: the kernel's timers stood still for so long
	waiting []event       // for when it wakes
	copies  []*copied
	images  map[string]*checkpoint // by move, in memory
	mutes   map[string]time.Duration
	stopped map[string]bool // pods whose cgroup the fence has frozen, by UID
	disk    disk
}

// A copied is a copy of a pod: one set of processes.
type copied struct {
	uid   string
	pod   string
	move  string // that restored it, "" for one that was started here
	epoch uint64 // under which the agent last let it run
	memory
	life      *life
	frozen    bool // by the agent, for the move frozenFor; kept when that is over
	frozenFor string
	gated     bool // restored, and waiting in CRIU's post-restore hook
}

// A checkpoint is what a dump leaves, and what arrives of it.
type checkpoint struct {
	memory
	life    *life
	corrupt bool
}

// awake says that a host executes anything.
func (h *host) awake() bool { return h.up && !h.asleep }

// find returns the pod's copy that stands here, but for those that wait at a gate.
func (h *host) find(uid string) *copied {
	for _, c := range h.copies {
		if c.uid == uid && !c.gated {
			return c
		}
	}
	return nil
}

// gate returns the copy that a move has restored and not yet resumed.
func (h *host) gate(move string) *copied {
	for _, c := range h.copies {
		if c.gated && c.move == move {
			return c
		}
	}
	return nil
}

func (h *host) add(c *copied) { h.copies = append(h.copies, c) }

func (h *host) drop(c *copied) {
	h.copies = slices.DeleteFunc(h.copies, func(x *copied) bool { return x == c })
	if !h.has(c.uid) {
		delete(h.stopped, c.uid) // with the cgroup
	}
}

// clear removes everything of a pod, also what waits at a gate: a new life begins in an empty place.
func (h *host) clear(uid string) {
	for _, c := range slices.Clone(h.copies) {
		if c.uid == uid {
			h.drop(c)
		}
	}
}

// has says whether anything of a pod is there, and so its cgroup.
func (h *host) has(uid string) bool {
	return slices.ContainsFunc(h.copies, func(c *copied) bool { return c.uid == uid })
}

// uptime is CLOCK_MONOTONIC, by which the kernel's timers go: it stands still while the host is suspended.
func (h *host) uptime() time.Duration { return h.boot() - h.scaled(h.slept) }

// muted says that the kernel lets nothing of a pod out: its element in the set has timed out.
func (h *host) muted(uid string) bool {
	until, fenced := h.mutes[uid]
	return !fenced || h.uptime() >= until
}

// lose is a loss of power.
func (h *host) lose() {
	h.up = false
	h.copies, h.images = nil, map[string]*checkpoint{}
	h.mutes, h.stopped = map[string]time.Duration{}, map[string]bool{}
	h.disk.lose()
	h.rouse()
	h.d.wake(h) // to nobody
}

// boot begins anew.
func (h *host) start() {
	h.up, h.on, h.slept, h.missed = true, h.d.now, 0, 0
	h.boots++
}

// suspend lets nothing of the host execute until it wakes. Time since boot goes on and the kernel's timers do not; if it is
// paused from outside, neither does.
func (h *host) suspend(paused bool) {
	h.asleep, h.paused, h.since = true, paused, h.d.now
}

// rouse ends that, as far as clocks are concerned.
func (h *host) rouse() {
	if h.asleep && h.paused {
		h.missed += h.d.now - h.since
	} else if h.asleep {
		h.slept += h.d.now - h.since
	}
	h.asleep = false
}

// A spec is what a host's disk has of a pod that was begun there.
type spec struct {
	epoch uint64
	boots int
}

// remember notes on the disk that a pod is here, in an epoch.
func (h *host) remember(uid string, epoch uint64) {
	full := h.disk.full
	h.disk.full = false // it takes no more room than before
	h.disk.remove(uid)
	h.disk.append(uid, spec{epoch, h.boots})
	h.disk.sync(uid)
	h.disk.full = full
}

func (h *host) forget(uid string) { h.disk.remove(uid) }

func (h *host) spec(uid string) *spec {
	f := h.disk.find(uid)
	if f == nil {
		return nil
	}
	s := f.lines[0].(spec)
	return &s
}
