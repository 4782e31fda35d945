//go:build root

package route

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// flow is a stream of numbered datagrams from one place to a pod, and a note of what arrives.
type flow struct {
	t    testing.TB
	stop chan struct{}
	sent chan uint64 // once, after stop: how many

	mu      sync.Mutex
	got     []uint64
	arrived chan struct{} // after an arrival; coalesces
}

const flowPort = 9000

// flow starts one from a place to an address; it arrives at another place.
func (p *place) flow(to netip.Addr, at *place, perSecond int) *flow {
	p.t.Helper()
	f := &flow{t: p.t, stop: make(chan struct{}), sent: make(chan uint64, 1), arrived: make(chan struct{}, 1)}
	f.listen(at)
	out := p.dial("udp4", to, flowPort).(*net.UDPConn)
	buffer(p.t, out, unix.SO_SNDBUFFORCE) // a sender that waits for room has its next packet's route already
	go f.send(out, time.Second/time.Duration(perSecond))
	return f
}

// buffer makes one of a socket's buffers larger than any burst.
func buffer(t testing.TB, conn *net.UDPConn, option int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 256<<20) })
	require.NoError(t, err)
	require.NoError(t, failed)
}

// listen notes what arrives at a place.
func (f *flow) listen(at *place) {
	f.t.Helper()
	at.inside(func() error {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: flowPort})
		if err != nil {
			return err
		}
		f.t.Cleanup(func() { _ = conn.Close() })
		buffer(f.t, conn, unix.SO_RCVBUFFORCE)
		go f.receive(conn)
		return nil
	})
}

func (f *flow) receive(conn net.Conn) {
	buf := make([]byte, 64)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		f.mu.Lock()
		f.got = append(f.got, binary.BigEndian.Uint64(buf))
		f.mu.Unlock()
		select {
		case f.arrived <- struct{}{}:
		default:
		}
	}
}

func (f *flow) send(out net.Conn, every time.Duration) {
	tick := time.NewTicker(max(every, time.Millisecond/2))
	defer tick.Stop()
	buf := make([]byte, 64)
	n, begin := uint64(0), time.Now()
	for {
		select {
		case <-f.stop:
			f.sent <- n
			return
		case <-tick.C:
		}
		for ; n < uint64(time.Since(begin)/every); n++ {
			binary.BigEndian.PutUint64(buf, n)
			_, _ = out.Write(buf)
		}
	}
}

func (f *flow) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// more waits until n more have arrived.
func (f *flow) more(n int) {
	f.t.Helper()
	f.atLeast(f.count() + n)
}

func (f *flow) atLeast(n int) {
	f.t.Helper()
	limit := time.After(5 * time.Second)
	for f.count() < n {
		select {
		case <-f.arrived:
		case <-limit:
			require.FailNowf(f.t, "datagrams missing", "%d of %d arrived", f.count(), n)
		}
	}
}

// whole ends the flow and wants every datagram once, in order: up to one in a hundred, since on an overloaded machine a few swap
// places in the kernel's queues per CPU. A release that new packets overtake has many hundreds.
func (f *flow) whole() {
	f.t.Helper()
	require.LessOrEqual(f.t, f.complete(), f.count()/100, "out of order of %d", f.count())
}

// complete ends the flow, wants every datagram once, and returns how many came after a later one.
func (f *flow) complete() (late int) {
	f.t.Helper()
	close(f.stop)
	sent := <-f.sent
	f.atLeast(int(sent))
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Len(f.t, f.got, int(sent), "doubled")
	most := uint64(0)
	for _, n := range f.got {
		if n < most {
			late++
		}
		most = max(most, n)
	}
	return late
}

// pause lets a flow run for a while: that time passes is what the test is about.
func pause(d time.Duration) { <-time.After(d) }
