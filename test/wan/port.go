package wan

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// idle is the deadline of a port that waits for nothing.
const idle = time.Duration(1<<63 - 1)

// packet is one IP packet, on its way from the time it was read until it is written.
type packet struct {
	arrival time.Duration
	size    int
	data    [maxPacket]byte
}

// lane is one direction as it runs: the link's arithmetic, and what is on its way in order of
// arrival (a link never reorders).
type lane struct {
	from     string
	link     *Link
	counters Counters
	flight   []*packet
	head     int
}

// port is a site's connection: a reader that takes what the site sends, and a writer that gives it,
// at its time, what others sent to it.
type port struct {
	router *Router
	index  int
	site   Site

	mu      sync.Mutex
	inbound []*lane // by the sender's index
	wakes   time.Duration
	stopped bool

	event  int // eventfd that interrupts the writer's sleep
	writer sync.WaitGroup
}

func newPort(r *Router, index int, site Site) (*port, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("making the wake-up of site %s: %w", site.Name, err)
	}
	return &port{router: r, index: index, site: site, event: event}, nil
}

func (p *port) start() { p.writer.Go(p.write) }

// stop ends the writer. No reader may run any more.
func (p *port) stop() error {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.wake()
	p.writer.Wait()
	return unix.Close(p.event)
}

// read takes packets from the site until its device is closed.
func (p *port) read() {
	r := p.router
	for {
		pkt := r.buffers.Get().(*packet)
		n, err := p.site.Device.Read(pkt.data[:])
		if err != nil {
			if !r.closed(err) {
				r.log.Error("a site is cut off: reading its device failed", "site", p.site.Name, "error", err)
			}
			return
		}
		pkt.size = n
		to := r.lookup(destination(pkt.data[:n]))
		if to == nil || to == p {
			r.buffers.Put(pkt) // multicast of the kernel's own, or nobody's address
			continue
		}
		to.enqueue(p.index, pkt)
	}
}

// destination is the address an IP packet goes to; the zero Addr if it is none.
func destination(b []byte) netip.Addr {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(b[16:20]))
	case len(b) >= 40 && b[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(b[24:40]))
	}
	return netip.Addr{}
}

// enqueue sends a packet of the site with index from on its way to this port.
func (p *port) enqueue(from int, pkt *packet) {
	p.mu.Lock()
	lane := p.inbound[from]
	lane.counters.Sent.add(pkt.size)
	arrival, fate := lane.link.Enqueue(p.router.now(), pkt.size)
	switch fate {
	case Carried:
		pkt.arrival = arrival
		lane.flight = append(lane.flight, pkt)
	case Lost:
		lane.counters.Lost.add(pkt.size)
	case Overflow:
		lane.counters.Overflow.add(pkt.size)
	case Severed:
		lane.counters.Cut.add(pkt.size)
	}
	early := fate == Carried && arrival < p.wakes
	if early {
		p.wakes = arrival // one wake-up is enough
	}
	p.mu.Unlock()
	if early {
		p.wake()
	}
	if fate != Carried {
		p.router.buffers.Put(pkt)
	}
}

// wake interrupts the writer's sleep.
func (p *port) wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	unix.Write(p.event, one[:]) //nolint:errcheck // fails only when a wake-up is pending already
}

// write delivers packets when their time has come, until stop. It has a thread of its own, because
// only a thread can sleep exactly: the runtime's timers are as coarse as its poller's milliseconds.
func (p *port) write() {
	runtime.LockOSThread()                                                    // never unlocked: the thread, with its timer slack, ends with the goroutine
	unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(20*time.Microsecond), 0, 0, 0) //nolint:errcheck // the default of 50 us serves too
	var due []*packet
	for {
		var next time.Duration
		var stopped bool
		due, next, stopped = p.collect(due[:0])
		if stopped {
			return
		}
		for _, pkt := range due {
			if _, err := p.site.Device.Write(pkt.data[:pkt.size]); err != nil && !p.router.closed(err) {
				p.router.log.Debug("a packet was not taken", "site", p.site.Name, "error", err)
			}
			p.router.buffers.Put(pkt)
		}
		if len(due) == 0 {
			p.sleep(next)
		}
	}
}

// collect appends the packets that are due, in order of arrival within each lane, and says when the
// next one is.
func (p *port) collect(due []*packet) (_ []*packet, next time.Duration, stopped bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.router.now()
	next = idle
	for _, lane := range p.inbound {
		for lane.head < len(lane.flight) {
			pkt := lane.flight[lane.head]
			if pkt.arrival > now {
				next = min(next, pkt.arrival)
				break
			}
			lane.flight[lane.head] = nil
			lane.head++
			lane.counters.Delivered.add(pkt.size)
			due = append(due, pkt)
		}
		lane.compact()
	}
	p.wakes = next
	if len(due) > 0 {
		p.wakes = 0 // the writer looks again by itself before it sleeps
	}
	return due, next, p.stopped
}

// compact moves the flight to the front of its array when the free part is the larger one, so that
// each packet is moved at most once on average.
func (l *lane) compact() {
	if l.head > len(l.flight)/2 || l.head == len(l.flight) {
		n := copy(l.flight, l.flight[l.head:])
		clear(l.flight[n:])
		l.flight, l.head = l.flight[:n], 0
	}
}

// sleep waits until the time next, or a wake-up.
func (p *port) sleep(next time.Duration) {
	var timeout *unix.Timespec
	if next != idle {
		ts := unix.NsecToTimespec(int64(max(0, next-p.router.now())))
		timeout = &ts
	}
	fds := []unix.PollFd{{Fd: int32(p.event), Events: unix.POLLIN}}
	if n, err := unix.Ppoll(fds, timeout, nil); n > 0 && err == nil {
		var count [8]byte
		unix.Read(p.event, count[:]) //nolint:errcheck // non-blocking; nothing there is fine
	}
}

// drop loses what is on its way in a lane that was cut. The port is locked.
func (p *port) drop(l *lane) {
	for _, pkt := range l.flight[l.head:] {
		l.counters.Cut.add(pkt.size)
		p.router.buffers.Put(pkt)
	}
	clear(l.flight)
	l.flight, l.head = l.flight[:0], 0
}

// status is the state of the direction from the site with that index to this one.
func (p *port) status(from int) LinkStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	lane := p.inbound[from]
	return LinkStatus{From: lane.from, To: p.site.Name, Conditions: lane.link.Conditions(), Counters: lane.counters}
}
