//go:build root

package route

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A pod goes on as it was a while ago. Its peers must not be answered out of that past: their connections end, and new ones
// can be made at once. What the pod says to itself goes on.
func TestDisconnectEndsWhatPeersHave(t *testing.T) {
	for name, network := range map[string]string{"IPv4": "tcp4", "both in one socket": "tcp"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ams", "fra")
			ams, fra := w.sites[0], w.sites[1]
			w.set(map[int]string{5: "ams", 6: "fra"})
			p5, p6 := ams.pod(5, false), fra.pod(6, false)
			var listener net.Listener
			p5.inside(func() (err error) { listener, err = net.Listen(network, ":80"); return err })
			defer listener.Close()
			accept := func() net.Conn {
				conn, err := listener.Accept()
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				return conn
			}
			p6.echo(81)
			client := p6.dial("tcp4", podAddr(5), 80)
			server := accept()
			outgoing := p5.dial("tcp4", podAddr(6), 81)
			waiting := p6.dial("tcp4", podAddr(5), 80) // nobody has accepted it yet
			own := p5.dial("tcp4", podAddr(5), 80)

			cut := ams.cutover(5, fra)
			segments := p6.counter("Tcp InSegs")
			ended, err := cut.Disconnect()
			require.NoError(t, err)
			require.Equal(t, 3, ended)
			ended, err = cut.Disconnect()
			require.NoError(t, err)
			require.Zero(t, ended, "twice is once")
			require.Equal(t, segments, p6.counter("Tcp InSegs"), "no peer hears of it while the egress is shut")

			for _, conn := range []net.Conn{server, outgoing} {
				require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
				_, err = conn.Read(make([]byte, 1))
				require.ErrorIs(t, err, unix.ECONNABORTED)
			}
			require.NoError(t, cut.OpenEgress())
			for _, conn := range []net.Conn{client, waiting} {
				require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
				_, err = conn.Write([]byte("are you there?"))
				require.NoError(t, err)
				_, err = conn.Read(make([]byte, 1))
				require.ErrorIs(t, err, unix.ECONNRESET)
			}
			// The dead one that waited comes out of the queue first.
			dead, inside := accept(), accept()
			_, err = dead.Read(make([]byte, 1))
			require.Error(t, err)
			go func() { _, _ = inside.Write([]byte("x")) }()
			_, err = own.Read(make([]byte, 1))
			require.NoError(t, err, "what the pod says to itself")

			again := p6.dial("tcp4", podAddr(5), 80)
			_, err = again.Write([]byte("hello"))
			require.NoError(t, err)
			_, err = accept().Read(make([]byte, 1))
			require.NoError(t, err, "the listener stays")
		})
	}
}
