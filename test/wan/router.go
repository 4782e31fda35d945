package wan

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"runtime"
	"sort"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Site is one end of the network: packets to its prefixes leave through its device.
type Site struct {
	Name     string
	Prefixes []netip.Prefix
	// Device is a non-blocking file descriptor that carries one IP packet a read and write, as
	// OpenDevice returns it. The router owns it. Negative while the site is not plugged in.
	Device int
}

// Config says how a router starts.
type Config struct {
	Conditions Conditions // of every link
	Seed       uint64     // of all random decisions
	Log        *slog.Logger
}

// Router carries packets between its sites. One thread does it all, in rounds: it reads what the
// sites sent, writes what is due, and sleeps; so nothing is handed from thread to thread, and the
// busier it is the more packets share a round.
type Router struct {
	log     *slog.Logger
	started time.Time
	sites   []Site
	index   map[string]int
	routes  []route // longest prefix first
	event   int     // eventfd that interrupts the thread's sleep
	thread  sync.WaitGroup
	once    sync.Once

	mu      sync.Mutex // of all below, and of the sites' devices
	lanes   [][]*lane  // by receiver, then sender
	free    []*packet
	closing bool
}

type route struct {
	prefix netip.Prefix
	site   int
}

// NewRouter starts carrying packets between the sites. The caller must Close it. On an error the
// devices are closed.
func NewRouter(cfg Config, sites []Site) (*Router, error) {
	r, err := newRouter(cfg, sites)
	if err != nil {
		for _, s := range sites {
			err = errors.Join(err, unix.Close(s.Device))
		}
		return nil, err
	}
	r.thread.Go(r.run)
	return r, nil
}

func newRouter(cfg Config, sites []Site) (*Router, error) {
	if err := cfg.Conditions.Validate(); err != nil {
		return nil, err
	}
	r := &Router{log: cfg.Log, started: time.Now(), sites: sites, index: make(map[string]int)}
	for i, site := range sites {
		if _, ok := r.index[site.Name]; ok {
			return nil, fmt.Errorf("site %q is given twice", site.Name)
		}
		r.index[site.Name] = i
		for _, prefix := range site.Prefixes {
			r.routes = append(r.routes, route{prefix.Masked(), i})
		}
	}
	sort.SliceStable(r.routes, func(i, j int) bool {
		return r.routes[i].prefix.Bits() > r.routes[j].prefix.Bits()
	})
	for _, to := range sites {
		var inbound []*lane
		for _, from := range sites {
			inbound = append(inbound, newLane(cfg, from.Name, to.Name))
		}
		r.lanes = append(r.lanes, inbound)
	}
	var err error
	if r.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("making the router's wake-up: %w", err)
	}
	return r, nil
}

// newLane seeds each direction by the names of its ends, so that adding a site changes no other.
func newLane(cfg Config, from, to string) *lane {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s>%s", from, to)
	return &lane{link: NewLink(cfg.Conditions, cfg.Seed, h.Sum64())}
}

// now is the router's clock: monotonic, from its start.
func (r *Router) now() time.Duration { return time.Since(r.started) }

// lookup finds the site of a destination, or -1.
func (r *Router) lookup(dst netip.Addr) int {
	for i := range r.routes {
		if r.routes[i].prefix.Contains(dst) {
			return r.routes[i].site
		}
	}
	return -1
}

// Change alters the direction from one site to another.
func (r *Router) Change(from, to string, change Change) error {
	for _, name := range []string{from, to} {
		if _, ok := r.index[name]; !ok {
			return fmt.Errorf("no site %q on the WAN: want one of %v", name, r.names())
		}
	}
	if from == to {
		return fmt.Errorf("site %q has no link to itself", from)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lane := r.lanes[r.index[to]][r.index[from]]
	c := change.Apply(lane.link.Conditions())
	if err := c.Validate(); err != nil {
		return fmt.Errorf("link %s to %s: %w", from, to, err)
	}
	lane.link.SetConditions(r.now(), c)
	if c.Cut {
		r.free = lane.drop(r.free)
	}
	return nil
}

// Plug gives a site another device, as when its host has started anew, and closes the one it had; what is on its way
// to it is lost. With a negative one the site is off: what is sent to it is lost. The router owns the device.
func (r *Router) Plug(site string, device int) error {
	at, ok := r.index[site]
	if !ok {
		return fmt.Errorf("no site %q on the WAN: want one of %v", site, r.names())
	}
	r.mu.Lock()
	old := r.sites[at].Device
	r.sites[at].Device = device
	for _, lane := range r.lanes[at] {
		r.free = lane.drop(r.free)
	}
	r.mu.Unlock()
	var err error
	if old >= 0 {
		err = unix.Close(old)
	}
	return errors.Join(err, r.wake()) // its poll holds on to what it waits for
}

// wake interrupts the thread's sleep.
func (r *Router) wake() error {
	if _, err := unix.Write(r.event, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("waking the router: %w", err)
	}
	return nil
}

func (r *Router) names() []string {
	names := make([]string, len(r.sites))
	for i, s := range r.sites {
		names[i] = s.Name
	}
	return names
}

// Links returns the state of every directed link, ordered by From and To.
func (r *Router) Links() []LinkStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var links []LinkStatus
	for to, inbound := range r.lanes {
		for from, lane := range inbound {
			if from != to {
				links = append(links, LinkStatus{
					From: r.sites[from].Name, To: r.sites[to].Name,
					Conditions: lane.link.Conditions(), Counters: lane.counters,
				})
			}
		}
	}
	sort.Slice(links, func(i, j int) bool {
		a, b := links[i], links[j]
		return a.From < b.From || a.From == b.From && a.To < b.To
	})
	return links
}

// Close stops the router, drops what is on its way and closes the devices.
func (r *Router) Close() error {
	var err error
	r.once.Do(func() {
		r.mu.Lock()
		r.closing = true
		r.mu.Unlock()
		err = r.wake()
		r.thread.Wait()
		err = errors.Join(err, unix.Close(r.event))
		for _, s := range r.sites {
			if s.Device >= 0 {
				err = errors.Join(err, unix.Close(s.Device))
			}
		}
	})
	return err
}

// The router's thread sleeps exactly, because it sleeps in the kernel: the runtime's timers are as
// coarse as its poller's milliseconds.
const (
	// round is the least time between two rounds in which there was something to do: packets share
	// a round instead of costing a wake-up each, and are late by no more than this.
	round = 100 * time.Microsecond
	// slack is how late the kernel may wake the thread (prctl(2), PR_SET_TIMERSLACK).
	slack = 10 * time.Microsecond
	// priority is the thread's nice value.
	priority = -15
	// burst is how many packets of one site are read before the others' turn.
	burst = 256
)

// run is the router's thread.
func (r *Router) run() {
	runtime.LockOSThread()                                      // never unlocked: the thread, with its timer slack, ends with the goroutine
	unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) //nolint:errcheck // the default of 50 us serves too
	// What else runs on the machine must not look like delay of the network.
	unix.Setpriority(unix.PRIO_PROCESS, 0, priority) //nolint:errcheck // without the privilege it is as punctual as others
	ready := []unix.PollFd{{Fd: int32(r.event), Events: unix.POLLIN}}
	r.mu.Lock()
	for _, s := range r.sites {
		ready = append(ready, unix.PollFd{Fd: int32(s.Device), Events: unix.POLLIN})
	}
	r.mu.Unlock()
	for {
		worked, next, closing := r.round(ready)
		if closing {
			return
		}
		if worked {
			sleep(nil, round)
			next = 0 // look at once
		}
		sleep(ready, next)
	}
}

// round reads from the devices that are ready and writes what is due. It says whether it did
// anything, and how long it is until the next packet is due; negative if none is on its way.
func (r *Router) round(ready []unix.PollFd) (worked bool, next time.Duration, closing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ready[0].Revents != 0 {
		ready[0].Revents = 0
		var count [8]byte
		unix.Read(r.event, count[:]) //nolint:errcheck // it tells only that there was something
	}
	for i := range r.sites {
		fd := &ready[i+1]
		if device := int32(r.sites[i].Device); fd.Fd != device && fd.Fd != ^device { // it was plugged in anew
			fd.Fd = device
		}
		if fd.Revents == 0 || fd.Fd < 0 {
			continue
		}
		fd.Revents = 0
		worked = true
		if err := r.read(i); err != nil {
			r.log.Error("a site is cut off: reading its device failed", "site", r.sites[i].Name, "error", err)
			fd.Fd = ^fd.Fd // poll ignores negative ones
		}
	}
	now := r.now()
	next = -1
	for to, inbound := range r.lanes {
		for _, lane := range inbound {
			n, wait := r.deliver(lane, r.sites[to].Device, now)
			worked = worked || n > 0
			if wait >= 0 && (next < 0 || wait < next) {
				next = wait
			}
		}
	}
	return worked, next, r.closing
}

// sleep waits for d, for ever if that is negative, or until one of the descriptors is ready.
func sleep(ready []unix.PollFd, d time.Duration) {
	var timeout *unix.Timespec
	if d >= 0 {
		ts := unix.NsecToTimespec(int64(d))
		timeout = &ts
	}
	unix.Ppoll(ready, timeout, nil) //nolint:errcheck // a signal is as good as a wake-up
}
