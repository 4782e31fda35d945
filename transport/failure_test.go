package transport_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/drover-mesh/drover/transport"
)

func TestKilledAndRestartedPeerIsNoticedAtOnce(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams := m.start(m.config("ams"))
	addr, kill := m.child("fra", netip.MustParseAddrPort("127.0.0.1:0"))
	conn := dial(t, ams, "fra", transport.Move)
	try(t, roundTrip(conn, "before"))
	kill()
	m.child("fra", addr)

	start := time.Now()
	err := roundTrip(conn, "after, in more than a few bytes")
	took := time.Since(start)
	if !errors.Is(err, transport.ErrLost) || !strings.Contains(err.Error(), "its agent was restarted") || took > time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	start = time.Now()
	try(t, roundTrip(dial(t, ams, "fra", transport.Move), "again"))
	t.Logf("noticed after %v, dialled anew in %v", took, time.Since(start))
}

// Who only waits for an answer is told with the next heartbeat.
func TestKilledAndRestartedPeerIsNoticedByReaders(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams := m.start(m.config("ams"))
	addr, kill := m.child("fra", netip.MustParseAddrPort("127.0.0.1:0"))
	conn := dial(t, ams, "fra", transport.Move)
	try(t, roundTrip(conn, "before"))
	kill()
	m.child("fra", addr)
	start := time.Now()
	_, err := conn.Read(make([]byte, 1))
	if took := time.Since(start); !errors.Is(err, transport.ErrLost) || !strings.Contains(err.Error(), "its agent was restarted") || took > 1500*time.Millisecond {
		t.Errorf("after %v: %v", took, err)
	}
}

// A connection that was idle since before the restart: Dial itself must find out and dial again.
func TestDialFindsOutThatItsConnectionIsDead(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams := m.start(m.config("ams"))
	addr, kill := m.child("fra", netip.MustParseAddrPort("127.0.0.1:0"))
	try(t, roundTrip(dial(t, ams, "fra", transport.Move), "before"))
	kill()
	m.child("fra", addr)
	transport.Distrust(ams, "fra")

	start := time.Now()
	try(t, roundTrip(dial(t, ams, "fra", transport.Move), "after"))
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestPeerThatClosesSaysSo(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	echo(t, fra, transport.Move)
	conn := dial(t, ams, "fra", transport.Move)
	try(t, roundTrip(conn, "before"))
	try(t, fra.Close())
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, transport.ErrLost) || !strings.Contains(err.Error(), "shut down") {
		t.Errorf("got %v", err)
	}
}

func TestUnreachableNodeFailsFast(t *testing.T) {
	m := newMesh(t, "ams")
	ams := m.start(m.config("ams"))
	deaf, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	try(t, err)
	defer deaf.Close()
	m.route("fra", deaf.LocalAddr().(*net.UDPAddr).AddrPort())

	start := time.Now()
	_, err = ams.Dial(context.Background(), "fra", transport.Move)
	if took := time.Since(start); !errors.Is(err, transport.ErrUnreachable) || took > 6*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start = time.Now()
	_, err = ams.Dial(ctx, "fra", transport.Move)
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if _, err = ams.Dial(context.Background(), "nyc", transport.Move); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("unknown node: %v", err)
	}
	if _, err = ams.Dial(context.Background(), "fra", 77); err == nil {
		t.Error("kind 77 was dialled")
	}
}

func TestCutLinkIsAnErrorAndHeals(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	echo(t, fra, transport.Move)
	link := newRelay(t, fra.Addr(), linkSpec{delay: 5 * time.Millisecond})
	m.route("fra", link.addr())
	conn := dial(t, ams, "fra", transport.Move)
	try(t, roundTrip(conn, "before"))

	link.cut.Store(true)
	start := time.Now()
	_, err := conn.Read(make([]byte, 1))
	took := time.Since(start)
	if !errors.Is(err, transport.ErrLost) || took > transport.DeadAfter+500*time.Millisecond {
		t.Errorf("after %v: %v", took, err)
	}
	var timeout net.Error
	if errors.As(err, &timeout) {
		t.Errorf("a lost connection passes for a deadline: %v", err)
	}
	if _, err := ams.Dial(within(t, 200*time.Millisecond), "fra", transport.Move); err == nil {
		t.Error("dialled over a cut link")
	}
	link.cut.Store(false)
	try(t, roundTrip(dial(t, ams, "fra", transport.Move), "after"))
	t.Logf("noticed after %v", took)
}

func TestShortCutIsSurvived(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	echo(t, fra, transport.Move)
	link := newRelay(t, fra.Addr(), linkSpec{delay: time.Millisecond})
	m.route("fra", link.addr())
	conn := dial(t, ams, "fra", transport.Move)
	try(t, roundTrip(conn, "before"))
	link.cut.Store(true)
	heal := time.AfterFunc(2*time.Second, func() { link.cut.Store(false) })
	defer heal.Stop()
	try(t, roundTrip(conn, "after"))
}

func TestGarbageDatagrams(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	echo(t, fra, transport.Move)
	conn := dial(t, ams, "fra", transport.Move)
	garbage, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(fra.Addr()))
	try(t, err)
	defer garbage.Close()
	packet := make([]byte, 1400)
	for i := range 2000 {
		_, _ = rand.Read(packet)
		if i%2 == 0 { // half of it looks like an Initial of QUIC version 1
			copy(packet, []byte{0xc0, 0, 0, 0, 1, 8})
		}
		_, _ = garbage.Write(packet[:i%len(packet)])
	}
	try(t, roundTrip(conn, "the old connection"))
	try(t, roundTrip(dial(t, fra, "fra", transport.Move), "a new one"))
}

func TestStreamsNobodyListensFor(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	if _, err := ams.Dial(within(t, 10*time.Second), "fra", transport.Move); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("unclaimed, first stream: %v", err)
	}
	echo(t, fra, transport.API)
	try(t, roundTrip(dial(t, ams, "fra", transport.API), "x")) // heard from: Dial doesn't wait now
	late := dial(t, ams, "fra", transport.Move)
	if _, err := late.Read(make([]byte, 1)); !errors.Is(err, transport.ErrRefused) {
		t.Errorf("unclaimed, later stream: %v", err)
	}
	l := fra.Listener(transport.Move)
	try(t, l.Close())
	try(t, l.Close())
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	echo(t, fra, transport.Move)
	try(t, roundTrip(dial(t, ams, "fra", transport.Move), "claimed again"))
}

func TestForeignStreams(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams := m.start(m.config("ams"))
	echo(t, ams, transport.Move)
	peer, err := quic.DialAddr(within(t, 10*time.Second), ams.Addr().String(), m.config("fra").Identity.TLS("ams"), nil)
	try(t, err)
	defer peer.CloseWithError(0, "")

	for _, first := range []string{"\x00", "\x4d", "\xff"} { // kinds that don't exist
		stream, err := peer.OpenStream()
		try(t, err)
		_, err = stream.Write([]byte(first + strings.Repeat("\x00", 15)))
		try(t, err)
		_, err = stream.Read(make([]byte, 1))
		if reset := new(quic.StreamError); !errors.As(err, &reset) || !reset.Remote || reset.ErrorCode != 1 {
			t.Errorf("kind %q: %v", first, err)
		}
	}
	silent, err := peer.OpenStream() // ends without having said its kind
	try(t, err)
	try(t, silent.Close())
	if _, err = silent.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("silent stream: %v", err)
	}
	if _, err := peer.OpenUniStream(); err == nil {
		t.Error("a stream in one direction was allowed")
	}
	proper, err := peer.OpenStream()
	try(t, err)
	_, err = proper.Write([]byte("\x03" + strings.Repeat("\xaa", 15) + "hello"))
	try(t, err)
	answer := make([]byte, 6)
	if _, err := io.ReadFull(proper, answer); err != nil || string(answer) != "\x06hello" {
		t.Errorf("a proper stream after all that: %q, %v", answer, err)
	}
}

func TestListenersQueueIsBounded(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	fra.Listener(transport.Move) // accepts nothing
	for taken := 0; ; taken++ {
		transport.Distrust(ams, "fra") // so that Dial waits for the answer
		conn, err := ams.Dial(within(t, 10*time.Second), "fra", transport.Move)
		if err != nil {
			if !errors.Is(err, transport.ErrRefused) || taken < transport.Backlog {
				t.Errorf("stream %d: %v", taken, err)
			}
			return
		}
		defer conn.Close()
		// A packet that was under way restores the trust; then Dial doesn't wait, and a later one learns it.
		if taken > transport.Backlog+10 {
			t.Fatalf("%d streams wait", taken)
		}
	}
}
