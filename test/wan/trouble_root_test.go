//go:build root

package wan

import (
	"encoding/binary"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// arrival is a packet as the far end got it.
type arrival struct {
	number uint64
	took   time.Duration
}

// stream sends n numbered packets from a to b, one each interval, and returns what arrived until nothing was on its way.
func stream(t *testing.T, r *Router, a, b *namespace, n int, interval time.Duration) (arrivals []arrival) {
	t.Helper()
	from, to := a.udp(t, "10.77.1.1:9", "10.77.2.1:9"), b.udp(t, "10.77.2.1:9", "10.77.1.1:9")
	defer from.Close()
	defer to.Close()
	before := link(t, r.Links(), "a", "b").Counters.Sent.Packets
	start := time.Now()
	done := make(chan []arrival)
	go func() {
		var all []arrival
		buffer := make([]byte, 100)
		for {
			size, err := to.Read(buffer)
			if err != nil {
				done <- all
				return
			}
			if size != 16 {
				continue
			}
			sent := time.Duration(binary.LittleEndian.Uint64(buffer[8:]))
			all = append(all, arrival{binary.LittleEndian.Uint64(buffer), time.Since(start) - sent})
		}
	}()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := range n {
		<-tick.C
		packet := binary.LittleEndian.AppendUint64(nil, uint64(i+1))
		packet = binary.LittleEndian.AppendUint64(packet, uint64(time.Since(start)))
		_, err := from.Write(packet)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		c := link(t, r.Links(), "a", "b").Counters
		return c.Sent.Packets-before >= uint64(n) && c.InFlight() == 0
	}, 5*time.Second, ms)
	require.NoError(t, to.SetReadDeadline(time.Now().Add(50*ms))) // what was delivered is in the socket by then
	return <-done
}

// reordered counts as RFC 4737 does.
func reordered(arrivals []arrival) (n uint64) {
	latest := uint64(0)
	for _, a := range arrivals {
		if a.number < latest {
			n++
		}
		latest = max(latest, a.number)
	}
	return n
}

// spread is the median of some times, and their deviation as it follows from their quartiles if they are normally
// distributed: what a busy machine adds to a few of them doesn't count.
func spread(times []time.Duration) (median, deviation time.Duration) {
	slices.Sort(times)
	quartile := func(i int) time.Duration { return times[i*len(times)/4] }
	return quartile(2), time.Duration(float64(quartile(3)-quartile(1)) / 1.349)
}

// quietly measures until it is as wanted, which on a busy machine may take several attempts.
func quietly(t *testing.T, measure func() []time.Duration, median, deviation, tolerance time.Duration) {
	t.Helper()
	var m, d time.Duration
	for range 8 {
		m, d = spread(measure())
		t.Logf("median %.2f ms, deviation %.2f ms", m.Seconds()*1e3, d.Seconds()*1e3)
		if (m-median).Abs() < tolerance && (d-deviation).Abs() < tolerance {
			return
		}
	}
	require.InDelta(t, median.Seconds(), m.Seconds(), tolerance.Seconds(), "median")
	require.InDelta(t, deviation.Seconds(), d.Seconds(), tolerance.Seconds(), "deviation")
}

func TestJitterOfRealPackets(t *testing.T) {
	r, a, b := pair(t, Conditions{Delay: 20 * ms, Jitter: 4 * ms, Unordered: true})
	var overtaken uint64
	quietly(t, func() (times []time.Duration) {
		arrivals := stream(t, r, a, b, 600, ms)
		require.Len(t, arrivals, 600)
		for _, a := range arrivals {
			require.GreaterOrEqual(t, a.took, 8*ms, "three deviations")
			times = append(times, a.took)
		}
		overtaken += reordered(arrivals)
		require.Equal(t, overtaken, link(t, r.Links(), "a", "b").Counters.Reordered.Packets)
		return times
	}, 20*ms, 4*ms, ms)
	require.Greater(t, overtaken, uint64(200))

	ordered := false
	require.NoError(t, r.Change("a", "b", Change{Unordered: &ordered}))
	arrivals := stream(t, r, a, b, 600, ms)
	require.Len(t, arrivals, 600)
	require.Zero(t, reordered(arrivals))
	require.Equal(t, overtaken, link(t, r.Links(), "a", "b").Counters.Reordered.Packets)
}

func TestReorderingOfRealPackets(t *testing.T) {
	r, a, b := pair(t, Conditions{Delay: 5 * ms, Reorder: 0.05, HoldBack: 10 * ms, Duplicate: 0.05})
	arrivals := stream(t, r, a, b, 2000, 500*time.Microsecond)
	c := link(t, r.Links(), "a", "b").Counters
	t.Logf("of 2000 packets %d were reordered, %d arrived twice", c.Reordered.Packets, c.Duplicated.Packets)
	require.Len(t, arrivals, 2000+int(c.Duplicated.Packets))
	require.InDelta(t, 100, c.Duplicated.Packets, 40)
	require.InDelta(t, 105, c.Reordered.Packets, 45, "copies of those held back among them")
	require.Equal(t, reordered(arrivals), c.Reordered.Packets)
}

// A damaged packet is dropped by the kernel that gets it, as its checksum is wrong.
func TestCorruptedPacketsAreNotTaken(t *testing.T) {
	r, a, b := pair(t, Conditions{Corrupt: 0.1})
	arrivals := stream(t, r, a, b, 1000, 200*time.Microsecond)
	c := link(t, r.Links(), "a", "b").Counters
	require.InDelta(t, 100, c.Corrupted.Packets, 45)
	require.Zero(t, c.Lost.Packets)
	require.InDelta(t, 1000-float64(c.Corrupted.Packets), len(arrivals), 10, "some bits of an IP header are in no checksum's way")
	for _, a := range arrivals {
		require.LessOrEqual(t, a.number, uint64(1000))
	}
}

// Pings cross the link twice, and are answered by the other kernel.
func TestPingOverJitter(t *testing.T) {
	_, a, _ := pair(t, Conditions{Delay: 40 * ms, Jitter: 10 * ms, Unordered: true})
	var conn *icmp.PacketConn
	var err error
	a.do(func() { conn, err = icmp.ListenPacket("ip4:icmp", "10.77.1.1") })
	require.NoError(t, err)
	defer conn.Close()
	// Two independent delays: the square root of two times 10 ms.
	quietly(t, func() (times []time.Duration) {
		for _, took := range pings(t, conn, 200) {
			require.GreaterOrEqual(t, took, 20*ms, "twice 40 ms less three deviations of 10 ms")
			times = append(times, took)
		}
		return times
	}, 80*ms, 14142*time.Microsecond, 3*ms)
}

// pings sends n echo requests to the other end, one each 5 ms, and returns how long their replies took.
func pings(t *testing.T, conn *icmp.PacketConn, n int) []time.Duration {
	t.Helper()
	id := os.Getpid() & 0xffff
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		tick := time.NewTicker(5 * ms)
		defer tick.Stop()
		for range n {
			<-tick.C
			// When it was sent comes back with the reply.
			data := binary.LittleEndian.AppendUint64(nil, uint64(time.Since(start)))
			echo := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Data: data}}
			packet, err := echo.Marshal(nil)
			if err == nil {
				_, err = conn.WriteTo(packet, &net.IPAddr{IP: net.IPv4(10, 77, 2, 1)})
			}
			if err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	require.NoError(t, conn.SetReadDeadline(start.Add(20*time.Second)))
	var times []time.Duration
	for buffer := make([]byte, 1500); len(times) < n; {
		size, _, err := conn.ReadFrom(buffer)
		require.NoError(t, err)
		reply, err := icmp.ParseMessage(ipv4.ICMPTypeEchoReply.Protocol(), buffer[:size])
		require.NoError(t, err)
		if body, ok := reply.Body.(*icmp.Echo); ok && reply.Type == ipv4.ICMPTypeEchoReply && body.ID == id {
			times = append(times, time.Since(start)-time.Duration(binary.LittleEndian.Uint64(body.Data)))
		}
	}
	require.NoError(t, <-sent)
	return times
}
