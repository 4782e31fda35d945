package wan

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/bits"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// newDevice returns both ends of what serves as a TUN device: the router's and the site's.
func newDevice(t *testing.T) (router int, site *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20))
	site = os.NewFile(uintptr(fds[1]), "site")
	t.Cleanup(func() { site.Close() })
	return fds[0], site
}

func send(t *testing.T, site *os.File, packet []byte) {
	t.Helper()
	_, err := site.Write(packet)
	require.NoError(t, err)
}

// packetTo is an IPv4 packet from nobody to dst with a sequence number in its identification field.
func packetTo(dst string, size, sequence int) []byte {
	b := make([]byte, size)
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[4:], uint16(sequence))
	copy(b[16:], netip.MustParseAddr(dst).AsSlice())
	return b
}

func newTestRouter(t *testing.T, c Conditions) (*Router, map[string]*os.File) {
	t.Helper()
	devices := make(map[string]*os.File)
	var sites []Site
	for i, name := range []string{"a", "b", "c"} {
		device, site := newDevice(t)
		devices[name] = site
		sites = append(sites, Site{Name: name, Device: device, Prefixes: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(i + 1), 0}), 24),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 15: byte(i + 1)}), 128),
		}})
	}
	r, err := NewRouter(Config{Conditions: c, Seed: 1, Log: slog.New(slog.DiscardHandler)}, sites)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r, devices
}

func receive(t *testing.T, site *os.File) []byte {
	t.Helper()
	require.NoError(t, site.SetReadDeadline(time.Now().Add(5*time.Second)))
	b := make([]byte, 2*maxPacket)
	n, err := site.Read(b)
	require.NoError(t, err, "no packet came")
	return b[:n]
}

func link(t *testing.T, links []LinkStatus, from, to string) LinkStatus {
	t.Helper()
	for _, l := range links {
		if l.From == from && l.To == to {
			return l
		}
	}
	require.FailNow(t, "no such link", "%s to %s", from, to)
	return LinkStatus{}
}

func TestRouterRoutesByDestination(t *testing.T) {
	r, devices := newTestRouter(t, Conditions{})
	v6 := make([]byte, 60)
	v6[0] = 0x60
	copy(v6[24:], netip.MustParseAddr("fd00::3").AsSlice())
	for _, garbage := range [][]byte{{0}, {0x45}, make([]byte, 100), packetTo("192.0.2.1", 20, 0), packetTo("10.77.1.9", 20, 0)} {
		send(t, devices["a"], garbage)
	}
	send(t, devices["a"], packetTo("10.77.2.1", 100, 7))
	send(t, devices["a"], v6)
	require.Equal(t, packetTo("10.77.2.1", 100, 7), receive(t, devices["b"]))
	require.Equal(t, v6, receive(t, devices["c"]))
	require.Equal(t, Count{1, 100}, link(t, r.Links(), "a", "b").Counters.Delivered)
	require.Equal(t, Count{1, 60}, link(t, r.Links(), "a", "c").Counters.Sent)
	require.Len(t, r.Links(), 6)
}

func TestRouterKeepsOrderAndTime(t *testing.T) {
	_, devices := newTestRouter(t, Conditions{Delay: 20 * ms, Rate: 80e6, Queue: 4 << 20})
	const n = 1000 // 1000 bytes take 100 us: 100 ms in all
	start := time.Now()
	for i := range n {
		send(t, devices["a"], packetTo("10.77.2.1", 1000, i))
		if i%100 == 99 { // another sender to the same site
			send(t, devices["c"], packetTo("10.77.2.2", 1000, i))
		}
	}
	next := 0
	for range n + n/100 {
		b := receive(t, devices["b"])
		if b[19] == 1 {
			require.EqualValues(t, next, binary.BigEndian.Uint16(b[4:]))
			next++
		}
	}
	require.GreaterOrEqual(t, time.Since(start), 120*ms)
	require.Less(t, time.Since(start), 400*ms)
}

func TestRouterCutsOneDirectionAndWhatIsOnItsWay(t *testing.T) {
	r, devices := newTestRouter(t, Conditions{Delay: time.Minute})
	send(t, devices["a"], packetTo("10.77.2.1", 100, 1))
	send(t, devices["a"], packetTo("10.77.2.1", 100, 2))
	send(t, devices["b"], packetTo("10.77.1.1", 100, 3))
	require.Eventually(t, func() bool {
		return link(t, r.Links(), "a", "b").Counters.Sent.Packets == 2 && link(t, r.Links(), "b", "a").Counters.Sent.Packets == 1
	}, 5*time.Second, ms)
	cut, none := true, time.Duration(0)
	require.NoError(t, r.Change("a", "b", Change{Cut: &cut, Delay: &none}))
	send(t, devices["a"], packetTo("10.77.2.1", 50, 4))
	require.Eventually(t, func() bool { return link(t, r.Links(), "a", "b").Counters.Cut == Count{3, 250} }, 5*time.Second, ms)
	require.EqualValues(t, 1, link(t, r.Links(), "b", "a").Counters.InFlight())
	cut = false
	require.NoError(t, r.Change("a", "b", Change{Cut: &cut}))
	send(t, devices["a"], packetTo("10.77.2.1", 100, 5))
	require.EqualValues(t, 5, receive(t, devices["b"])[5], "nothing of the time before comes late")
}

func TestRouterRefusesWhatItCannotDo(t *testing.T) {
	r, _ := newTestRouter(t, Conditions{})
	require.ErrorContains(t, r.Change("a", "x", Change{}), `no site "x" on the WAN: want one of [a b c]`)
	require.ErrorContains(t, r.Change("a", "a", Change{}), "no link to itself")
	loss := 2.0
	require.ErrorContains(t, r.Change("a", "b", Change{Loss: &loss}), "loss 2")
	one, _ := newDevice(t)
	two, _ := newDevice(t)
	_, err := NewRouter(Config{}, []Site{{Name: "a", Device: one}, {Name: "a", Device: two}})
	require.ErrorContains(t, err, "given twice")
}

func TestControl(t *testing.T) {
	r, _ := newTestRouter(t, Conditions{Rate: 1e6})
	socket := filepath.Join(t.TempDir(), "wan.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := &http.Server{Handler: r.Handler()}
	go server.Serve(listener) //nolint:errcheck // ends by Close
	t.Cleanup(func() { server.Close() })

	client := NewClient(socket)
	delay, cut := 80*ms, true
	require.NoError(t, client.Change(t.Context(),
		ChangeRequest{From: "a", To: "b", Change: Change{Delay: &delay}},
		ChangeRequest{From: "b", To: "a", Change: Change{Cut: &cut}}))
	links, err := client.Links(t.Context())
	require.NoError(t, err)
	require.Equal(t, Conditions{Delay: delay, Rate: 1e6}, link(t, links, "a", "b").Conditions)
	require.Equal(t, Conditions{Rate: 1e6, Cut: true}, link(t, links, "b", "a").Conditions)
	require.ErrorContains(t, client.Change(t.Context(), ChangeRequest{From: "q", To: "b"}), `no site "q"`)

	_, err = NewClient(filepath.Join(t.TempDir(), "none")).Links(context.Background())
	require.ErrorContains(t, err, "asking the WAN router")
}

func TestRouterOutlivesADeviceThatFails(t *testing.T) {
	_, devices := newTestRouter(t, Conditions{})
	require.NoError(t, devices["c"].Close())
	send(t, devices["a"], packetTo("10.77.3.1", 100, 1)) // to nobody
	for i := range 10 {
		send(t, devices["a"], packetTo("10.77.2.1", 100, i))
		require.EqualValues(t, i, receive(t, devices["b"])[5])
	}
}

// A site that is off loses what is sent to it, and says nothing; plugged in again it is the one that it was.
func TestRouterPlugsASiteOutAndIn(t *testing.T) {
	r, devices := newTestRouter(t, Conditions{})
	require.ErrorContains(t, r.Plug("x", -1), "no site")
	old := devices["c"]
	for i := range 20 {
		require.NoError(t, r.Plug("c", -1))
		_, err := old.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "its device is closed at once, though nobody sends anything")
		send(t, devices["a"], packetTo("10.77.3.1", 100, i)) // to nobody
		send(t, devices["a"], packetTo("10.77.2.1", 100, i))
		require.EqualValues(t, i, receive(t, devices["b"])[5])

		device, site := newDevice(t)
		require.NoError(t, r.Plug("c", device))
		send(t, devices["a"], packetTo("10.77.3.1", 100, i))
		require.EqualValues(t, i, receive(t, site)[5])
		send(t, site, packetTo("10.77.1.1", 100, i))
		require.EqualValues(t, i, receive(t, devices["a"])[5])
		old = site
	}
}

// What arrives out of order, twice or damaged is what the counters say.
func TestRouterCountsTrouble(t *testing.T) {
	const n = 2000
	r, devices := newTestRouter(t, Conditions{Delay: 5 * ms, Jitter: ms, Reorder: 0.05, HoldBack: 3 * ms, Duplicate: 0.05, Corrupt: 0.05, Loss: 0.05})
	counters := func() Counters { return link(t, r.Links(), "a", "b").Counters }
	type seen struct{ packets, reordered, corrupt, again uint64 }
	numbered := func(number int) []byte {
		b := packetTo("10.77.2.1", 100, number)
		copy(b[98:], b[4:6])
		return b
	}
	received := make(chan seen)
	go func() {
		var s seen
		copies := map[uint16]bool{}
		latest := uint16(0)
		b := make([]byte, maxPacket)
		for {
			size, err := devices["b"].Read(b)
			if err != nil || size == 21 {
				received <- s
				return
			}
			s.packets++
			number := binary.BigEndian.Uint16(b[4:])
			pristine := numbered(int(number))
			wrong := 0
			for i := range pristine {
				wrong += bits.OnesCount8(pristine[i] ^ b[i])
			}
			if wrong > 0 {
				s.corrupt++
			}
			if number != binary.BigEndian.Uint16(b[98:]) {
				continue // its number is what was damaged
			}
			if number < latest {
				s.reordered++
			}
			if copies[number] {
				s.again++
			}
			latest, copies[number] = max(latest, number), true
		}
	}()
	for i := range n {
		send(t, devices["a"], numbered(i+1))
		if i%100 == 99 {
			require.Eventually(t, func() bool { return counters().Sent.Packets == uint64(i+1) }, 5*time.Second, 20*time.Microsecond)
		}
	}
	require.Eventually(t, func() bool { return counters().InFlight() == 0 }, 5*time.Second, ms)
	c := counters()
	clean, none := Change{}, 0.0
	clean.Loss, clean.Duplicate, clean.Corrupt, clean.Reorder = &none, &none, &none, &none
	require.NoError(t, r.Change("a", "b", clean))
	send(t, devices["a"], packetTo("10.77.2.1", 21, 0))
	s := <-received
	require.Equal(t, n+c.Duplicated.Packets-c.Lost.Packets, c.Delivered.Packets)
	require.Equal(t, c.Delivered.Packets, s.packets)
	for name, count := range map[string]uint64{"lost": c.Lost.Packets, "duplicated": c.Duplicated.Packets, "corrupted": c.Corrupted.Packets, "reordered": c.Reordered.Packets} {
		require.InDelta(t, 0.05*n, count, 50, name)
	}
	require.InDelta(t, c.Reordered.Packets, s.reordered, 10, "but for damaged numbers")
	require.InDelta(t, c.Duplicated.Packets, s.again, 10, "but for damaged numbers")
	require.GreaterOrEqual(t, s.corrupt, c.Corrupted.Packets, "a copy of a damaged packet is damaged too")
}
