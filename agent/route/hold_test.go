//go:build root

package route

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReleaseLosesNothingAndKeepsOrder(t *testing.T) {
	for _, from := range []string{"a pod elsewhere", "a pod beside it", "its host", "a client outside"} {
		t.Run(from, func(t *testing.T) {
			w := newWorld(t, "ams", "fra")
			ams, fra := w.sites[0], w.sites[1]
			w.set(map[int]string{5: "ams", 6: "fra", 7: "ams"})
			p5 := ams.pod(5, true)
			sender := map[string]*place{"a pod elsewhere": fra.pod(6, false), "a pod beside it": ams.pod(7, false), "its host": ams.place}[from]
			if sender == nil {
				sender = w.attach("client", 250)
				w.wan.route(testCIDR.String(), fra.cfg.Underlay.String())
			}
			f := sender.flow(podAddr(5), p5, 5000)
			for range 3 {
				pause(200 * time.Millisecond)
				held := f.count()
				pause(50 * time.Millisecond)
				require.Equal(t, held, f.count(), "a held pod got packets")
				require.NoError(t, ams.r.Release(uidOf(5)))
				f.more(100)
				require.NoError(t, ams.r.Hold(uidOf(5)))
				require.NoError(t, ams.r.Hold(uidOf(5)), "twice")
			}
			require.NoError(t, ams.r.Release(uidOf(5)))
			require.NoError(t, ams.r.Release(uidOf(5)), "twice")
			f.whole()
		})
	}
}

// A neighbour that the kernel is asking for is given up after some three seconds, with all that it queued. Ours must not.
func TestHoldOutlastsNeighbourTimers(t *testing.T) {
	for _, d := range []time.Duration{5 * time.Second, 15 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "ams", "fra")
			ams, fra := w.sites[0], w.sites[1]
			w.set(map[int]string{5: "ams", 6: "fra"})
			p5, p6 := ams.pod(5, true), fra.pod(6, false)
			f := p6.flow(podAddr(5), p5, 1000)
			end := time.After(d)
			for i := 0; ; i++ {
				select {
				case <-end:
					require.Zero(t, f.count(), "a held pod got packets")
					require.NoError(t, ams.r.Release(uidOf(5)))
					f.whole()
					return
				case <-time.After(time.Second):
					w.set(map[int]string{5: "ams", 6: "fra", 10 + i: "fra"}) // a reconciler at work
				}
			}
		})
	}
}

func TestHeldTCPIsReleasedWithoutRetransmission(t *testing.T) {
	w := newWorld(t, "ams", "fra")
	ams, fra := w.sites[0], w.sites[1]
	w.set(map[int]string{5: "ams", 6: "fra"})
	p5, p6 := ams.pod(5, false), fra.pod(6, false)
	p5.echo(80)
	conn := p6.dial("tcp4", podAddr(5), 80)
	ask(t, conn)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	retransmitted, timeouts := p6.counter("Tcp RetransSegs"), p6.counter("TcpExt TCPTimeouts")
	for i := range 10 {
		require.NoError(t, ams.r.Hold(uidOf(5)))
		_, err := fmt.Fprintf(conn, "hello")
		require.NoError(t, err)
		pause(50 * time.Millisecond) // less than the smallest retransmission time-out, 200 ms
		require.NoError(t, ams.r.Release(uidOf(5)))
		buf := make([]byte, 16)
		n, err := conn.Read(buf)
		require.NoError(t, err, i)
		require.Equal(t, "hello", string(buf[:n]))
	}
	require.Equal(t, timeouts, p6.counter("TcpExt TCPTimeouts"))
	// A lone segment may be probed for once (tail loss probe, after some 2 RTT + delayed ACK); more would be a loss.
	require.LessOrEqual(t, p6.counter("Tcp RetransSegs")-retransmitted, 10)
}
