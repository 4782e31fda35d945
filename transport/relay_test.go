package transport_test

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay is a link on loopback: what is sent to its address reaches the target after a delay, at a rate,
// through a queue that drops what it can't hold; the way back is a link alike.
type relay struct {
	front  *net.UDPConn
	target *net.UDPAddr
	link   linkSpec
	cut    atomic.Bool
	to     direction // from the dialling side to the target
	from   direction
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	upstream map[netip.AddrPort]*net.UDPConn
}

type linkSpec struct {
	delay time.Duration // one way
	rate  float64       // bytes/s; 0: unlimited
	queue int           // bytes; 0: unlimited
}

// direction counts what one direction carried, in bytes of IP packets.
type direction struct{ bytes, packets, dropped atomic.Int64 }

func newRelay(t testing.TB, target netip.AddrPort, link linkSpec) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	try(t, err)
	try(t, front.SetReadBuffer(4<<20))
	r := &relay{front: front, target: net.UDPAddrFromAddrPort(target), link: link, upstream: map[netip.AddrPort]*net.UDPConn{}}
	t.Cleanup(r.close)
	r.wg.Go(func() {
		pipes := map[netip.AddrPort]*pipe{}
		r.forward(front, &r.to, func(from netip.AddrPort) *pipe {
			if pipes[from] == nil {
				if up := r.dialUp(from); up != nil {
					pipes[from] = r.newPipe(func(b []byte) { _, _ = up.Write(b) })
				}
			}
			return pipes[from]
		})
		for _, p := range pipes {
			close(p.packets)
		}
	})
	return r
}

func (r *relay) addr() netip.AddrPort { return r.front.LocalAddr().(*net.UDPAddr).AddrPort() }

func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	r.front.Close()
	for _, up := range r.upstream {
		up.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// dialUp gives each sender a socket of its own towards the target.
func (r *relay) dialUp(from netip.AddrPort) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	up, err := net.DialUDP("udp", nil, r.target)
	if err != nil || r.closed {
		return nil
	}
	_ = up.SetReadBuffer(4 << 20)
	r.upstream[from] = up
	back := r.newPipe(func(b []byte) { _, _ = r.front.WriteToUDPAddrPort(b, from) })
	r.wg.Go(func() {
		defer close(back.packets)
		r.forward(up, &r.from, func(netip.AddrPort) *pipe { return back })
	})
	return up
}

func (r *relay) forward(in *net.UDPConn, count *direction, to func(from netip.AddrPort) *pipe) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := in.ReadFromUDPAddrPort(buffer)
		if err != nil {
			if r.isClosed() {
				return
			}
			continue // the target's port is closed: ICMP, as an error of the next read
		}
		p := to(from)
		if p == nil || r.cut.Load() {
			continue
		}
		count.bytes.Add(int64(n) + 28)
		count.packets.Add(1)
		if !p.push(append([]byte(nil), buffer[:n]...)) {
			count.dropped.Add(1)
		}
	}
}

func (r *relay) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// pipe delays packets. Its queue is what hasn't begun to leave at the link's rate.
type pipe struct {
	link    linkSpec
	free    time.Time // when the link has sent all that is queued
	packets chan delayed
}

type delayed struct {
	at   time.Time
	data []byte
}

func (r *relay) newPipe(deliver func([]byte)) *pipe {
	p := &pipe{link: r.link, packets: make(chan delayed, 1<<16)}
	r.wg.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for d := range p.packets {
			if wait := time.Until(d.at); wait > 0 {
				timer.Reset(wait)
				<-timer.C
			}
			if !r.cut.Load() && !r.isClosed() {
				deliver(d.data)
			}
		}
	})
	return p
}

func (p *pipe) push(data []byte) bool {
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	if p.link.rate > 0 {
		backlog := p.free.Sub(now).Seconds() * p.link.rate
		if p.link.queue > 0 && int(backlog)+len(data) > p.link.queue {
			return false
		}
		p.free = p.free.Add(time.Duration(float64(len(data)+28) / p.link.rate * float64(time.Second)))
	}
	select {
	case p.packets <- delayed{p.free.Add(p.link.delay), data}:
		return true
	default:
		return false
	}
}
