package wan

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// maxPacket bounds a packet; devices of sites must not have a larger MTU.
const maxPacket = 2048

// packet is one IP packet, on its way from when it was read until it is written.
type packet struct {
	arrival time.Duration
	number  uint64 // in the order in which the lane's were sent
	size    int
	data    [maxPacket]byte
}

// lane is one direction as it runs: the link's arithmetic, and what is on its way in order of
// arrival.
type lane struct {
	link     *Link
	counters Counters
	flight   []*packet
	head     int
	latest   uint64 // highest number that was delivered
}

// read takes a burst of packets from the site with that index. The router is locked.
func (r *Router) read(from int) error {
	for range burst {
		pkt := r.take()
		n, err := unix.Read(r.sites[from].Device, pkt.data[:])
		if err != nil || n <= 0 {
			r.free = append(r.free, pkt)
			if err == nil {
				return errors.New("it was closed from the other side")
			}
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				return nil
			}
			return err
		}
		pkt.size = n
		to := r.lookup(destination(pkt.data[:n]))
		if to < 0 || to == from { // multicast of the kernel's own, or nobody's address
			r.free = append(r.free, pkt)
			continue
		}
		lane := r.lanes[to][from]
		p := lane.enqueue(r.now(), pkt) // not before it was sent, or it could arrive too early
		if p.Fate != Carried {
			r.free = append(r.free, pkt)
		}
		if p.Twice {
			again := r.take()
			*again = *pkt
			lane.counters.Duplicated.add(again.size)
			lane.fly(again)
		}
	}
	return nil
}

// take returns a packet's buffer.
func (r *Router) take() *packet {
	if n := len(r.free); n > 0 {
		pkt := r.free[n-1]
		r.free = r.free[:n-1]
		return pkt
	}
	return new(packet)
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

// enqueue sends a packet on its way, unless the link has another fate for it.
func (l *lane) enqueue(now time.Duration, pkt *packet) Passage {
	l.counters.Sent.add(pkt.size)
	p := l.link.Enqueue(now, pkt.size)
	switch p.Fate {
	case Carried:
		pkt.arrival, pkt.number = p.Arrival, l.counters.Sent.Packets
		if p.Corrupt {
			l.counters.Corrupted.add(pkt.size)
			bit := int(p.Bit) % (8 * pkt.size)
			pkt.data[bit/8] ^= 1 << (bit % 8)
		}
		l.fly(pkt)
	case Lost:
		l.counters.Lost.add(pkt.size)
	case Overflow:
		l.counters.Overflow.add(pkt.size)
	case Severed:
		l.counters.Cut.add(pkt.size)
	}
	return p
}

// fly puts a packet behind all that arrive no later. Few overtake others, so it looks from the end.
func (l *lane) fly(pkt *packet) {
	at := len(l.flight)
	for at > l.head && l.flight[at-1].arrival > pkt.arrival {
		at--
	}
	l.flight = slices.Insert(l.flight, at, pkt)
}

// deliver writes the packets of a lane that are due to their site's device. It returns their number
// and the time until the next one is, or -1 if none is on its way. The router is locked.
func (r *Router) deliver(l *lane, device int, now time.Duration) (n int, wait time.Duration) {
	wait = -1
	for l.head < len(l.flight) {
		pkt := l.flight[l.head]
		if pkt.arrival > now {
			wait = pkt.arrival - now
			break
		}
		// What the site's kernel refuses is lost behind the WAN, as in a host that can't keep up.
		if _, err := unix.Write(device, pkt.data[:pkt.size]); err != nil {
			r.log.Debug("a packet was not taken", "error", err)
		}
		l.counters.Delivered.add(pkt.size)
		if pkt.number < l.latest {
			l.counters.Reordered.add(pkt.size)
		}
		l.latest = max(l.latest, pkt.number)
		l.flight[l.head] = nil
		l.head++
		n++
		r.free = append(r.free, pkt)
	}
	l.compact()
	return n, wait
}

// compact moves the flight to the front of its array when the free part is the larger one, so that
// each packet is moved at most once on average.
func (l *lane) compact() {
	if l.head > len(l.flight)/2 {
		n := copy(l.flight, l.flight[l.head:])
		clear(l.flight[n:])
		l.flight, l.head = l.flight[:n], 0
	}
}

// drop loses what is on its way, because the link was cut, and appends its buffers to free.
func (l *lane) drop(free []*packet) []*packet {
	for _, pkt := range l.flight[l.head:] {
		l.counters.Cut.add(pkt.size)
		free = append(free, pkt)
	}
	clear(l.flight)
	l.flight, l.head = l.flight[:0], 0
	return free
}
