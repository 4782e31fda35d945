//go:build root

package route

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

// A pod with an open connection goes; its peer, a pod elsewhere, must not see a segment of it any more.
func TestRemovedPodSaysNoFarewell(t *testing.T) {
	for name, remove := range map[string]func(t *testing.T, ams *site, cut *Cutover, kill func()){
		"its process lives": func(_ *testing.T, ams *site, _ *Cutover, kill func()) { ams.remove(5); kill() },
		"its process is killed first": func(t *testing.T, ams *site, cut *Cutover, kill func()) {
			require.NoError(t, cut.ShutEgress())
			kill()
			ams.remove(5)
		},
		"after a move": func(t *testing.T, ams *site, cut *Cutover, kill func()) {
			require.NoError(t, cut.Divert())
			require.NoError(t, cut.ShutEgress())
			kill()
			ams.remove(5)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "ams", "fra")
			ams, fra := w.sites[0], w.sites[1]
			w.set(map[int]string{5: "ams", 6: "fra"})
			p5, p6 := ams.pod(5, false), fra.pod(6, false)
			fra.pod(5, true)
			var listener net.Listener
			p5.inside(func() (err error) { listener, err = net.Listen("tcp4", ":80"); return err })
			defer listener.Close()
			conn := p6.dial("tcp4", podAddr(5), 80)
			server, err := listener.Accept()
			require.NoError(t, err)
			_, err = conn.Write([]byte("unread data makes the kernel answer a kill with RST"))
			require.NoError(t, err)
			left, err := ams.cutover(5, fra).Drain(t.Context(), time.Millisecond)
			require.NoError(t, err)
			require.Equal(t, uint64(51), left.Unread)
			segments := p6.counter("Tcp InSegs")
			remove(t, ams, ams.cutover(5, fra), func() { _ = server.Close(); _ = listener.Close() })
			_, err = conn.Write([]byte("are you there?"))
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
			_, err = conn.Read(make([]byte, 1))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				require.ErrorContains(t, err, "no route to host") // said by the host, not by the pod
			}
			require.Equal(t, segments, p6.counter("Tcp InSegs"))
			require.NoFileExists(t, filepath.Join(ams.cfg.NamesDir, "drover-p5"))
		})
	}
}

func TestShutEgressLeavesLoopback(t *testing.T) {
	w := newWorld(t, "ams", "fra")
	ams, fra := w.sites[0], w.sites[1]
	w.set(map[int]string{5: "ams", 6: "fra"})
	p5, p6 := ams.pod(5, false), fra.pod(6, false)
	p5.echo(80)
	p6.echo(80)
	cut := ams.cutover(5, fra)
	open := p5.dial("udp4", podAddr(6), 80)
	ask(t, open)
	require.NoError(t, cut.ShutEgress())
	require.NoError(t, cut.ShutEgress(), "twice")
	p5.reaches(podAddr(5), 80)
	_, err := open.Write([]byte("hello"))
	require.Error(t, err)
	ams.pod(5, false) // completing the place doesn't open it
	_, err = open.Write([]byte("hello"))
	require.Error(t, err)
	status, err := ams.r.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.Pods[0].EgressCut)
	back, err := ams.r.Cutover(uidOf(5), "")
	require.NoError(t, err, "the way back needs no node")
	require.ErrorContains(t, back.Divert(), "no node was named")
	require.NoError(t, back.OpenEgress())
	require.NoError(t, cut.OpenEgress(), "twice")
	require.NoError(t, back.Undivert())
	ask(t, open)
}

// What an agent leaves that is killed while it makes or removes a place.
func TestHalvesAreCleared(t *testing.T) {
	w := newWorld(t, "ams")
	ams := w.sites[0]
	w.set(map[int]string{5: "ams"})
	path := filepath.Join(ams.cfg.NamesDir, "drover-p5")
	halves := map[string]func(){
		"a namespace": func() { require.NoError(t, makeNamespace(ams.cfg.NamesDir, "drover-p5")) },
		"a name": func() {
			require.NoError(t, os.MkdirAll(ams.cfg.NamesDir, 0o755))
			require.NoError(t, os.WriteFile(path, nil, 0o444))
		},
		"a device": func() {
			ams.pod(5, false)
			require.NoError(t, removeNamespace(path))
			require.NoError(t, ams.r.Close())
			ams.open()
			w.set(map[int]string{5: "ams"})
		},
	}
	for name, half := range halves {
		t.Log(name)
		half()
		p5 := ams.pod(5, false)
		p5.echo(80)
		ams.reaches(podAddr(5), 80)
		ams.remove(5)
		ams.remove(5)
		half()
		ams.remove(5)
		require.NoFileExists(t, path, name)
	}
	halves["a device"]() // left to Teardown
}

func TestForeignDevicesAreLeftAlone(t *testing.T) {
	w := newWorld(t, "ams")
	ams := w.sites[0]
	require.NoError(t, ams.r.Teardown(t.Context()))
	for _, name := range []string{Device, vethName(uidOf(5))} {
		other := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		other.Name = name
		require.NoError(t, ams.nl.LinkAdd(other))
		err := ams.r.Set(t.Context(), w.desired(nil))
		if name != Device {
			require.NoError(t, err)
			_, err = ams.r.PreparePod(t.Context(), uidOf(5), podAddr(5), false)
		}
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, "ip link del "+name)
		require.NoError(t, ams.r.Teardown(t.Context()))
		_, err = ams.nl.LinkByName(name)
		require.NoError(t, err, "still there")
		require.NoError(t, ams.nl.LinkDel(other))
	}
}

func TestHandBackLosesNothing(t *testing.T) {
	for _, sender := range []string{"ams", "fra", "nyc", "host of fra"} {
		t.Run(sender, func(t *testing.T) {
			m := newMover(t, sender)
			require.NoError(t, m.cut.Divert())
			require.NoError(t, m.cut.ShutEgress())
			before := m.flow.count()
			pause(100 * time.Millisecond)
			require.Less(t, m.flow.count()-before, 50)
			require.NoError(t, m.cut.OpenEgress())
			require.NoError(t, m.cut.Undivert())
			require.NoError(t, m.fra.r.HandBack(uidOf(5)))
			m.flow.more(100)
			m.flow.complete()
			m.fra.remove(5)
			require.Zero(t, m.looped())
		})
	}
	m := newMover(t, "nyc")
	m.fra.set(m.desired(m.owner("fra")))
	require.ErrorContains(t, m.fra.r.HandBack(uidOf(5)), "owner")
}
