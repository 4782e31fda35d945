package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// node is a member under test, with what it logged.
type node struct {
	*Mesh
	log *lines
}

// lines is a log that may be written concurrently.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// start opens a member at bind that joins peers; edit may change its configuration. It is killed when the test ends.
func start(t *testing.T, name, bind string, key byte, peers []netip.AddrPort, edit ...func(*Config)) *node {
	t.Helper()
	log := &lines{}
	config := Config{
		Node: name, Site: "site-of-" + name, QUIC: netip.MustParseAddrPort("192.0.2.1:7400"), Version: "v1",
		Bind: netip.MustParseAddrPort(bind), Join: peers, Key: bytes.Repeat([]byte{key}, KeySize),
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo})),
		tune: func(c *memberlist.Config) {
			c.ProbeInterval, c.ProbeTimeout = 100*time.Millisecond, 80*time.Millisecond
			c.GossipInterval, c.SuspicionMult, c.TCPTimeout = 20*time.Millisecond, 2, time.Second
			c.DeadNodeReclaimTime = 10 * time.Millisecond
		},
	}
	for _, e := range edit {
		e(&config)
	}
	m, err := Open(t.Context(), config)
	require.NoError(t, err)
	n := &node{Mesh: m, log: log}
	t.Cleanup(n.kill)
	return n
}

// kill stops a member without a word, as kill -9 does.
func (n *node) kill() {
	n.stop()
	n.joined.Wait()
	_ = n.list.Shutdown()
}

// sees waits until n takes the node for what is wanted.
func (n *node) sees(t *testing.T, name string, want State) Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range n.Watch(ctx) {
		for _, m := range n.Members() {
			if m.Node == name && m.State == want {
				return m
			}
		}
	}
	require.FailNow(t, "not seen", "%s does not see %s %s but %v; it logged:\n%s", n.config.Node, name, want, n.Members(), n.log.buf.String())
	return Member{}
}

func TestThreeMembers(t *testing.T) {
	ams := start(t, "ams", "127.0.0.1:0", 1, nil)
	fra := start(t, "fra", "127.0.0.2:0", 1, []netip.AddrPort{ams.Bind()})
	nyc := start(t, "nyc", "127.0.0.3:0", 1, []netip.AddrPort{ams.Bind(), fra.Bind()}, func(c *Config) {
		c.QUIC = netip.MustParseAddrPort("[2001:db8::1]:7401")
	})
	for _, n := range []*node{ams, fra, nyc} {
		for _, name := range []string{"ams", "fra", "nyc"} {
			n.sees(t, name, Alive)
		}
	}
	m := ams.sees(t, "nyc", Alive)
	assert.Equal(t, Member{
		Node: "nyc", Site: "site-of-nyc", Addr: netip.MustParseAddrPort("[2001:db8::1]:7401"), Gossip: nyc.Bind(), Version: "v1", State: Alive,
	}, m)
	addr, err := fra.Addr("nyc")
	require.NoError(t, err)
	assert.Equal(t, m.Addr, addr)
	_, err = fra.Addr("gru")
	require.ErrorContains(t, err, "gru")

	// One is killed, and found dead by both others; its address stays known.
	nyc.kill()
	ams.sees(t, "nyc", Dead)
	fra.sees(t, "nyc", Dead)
	_, err = fra.Addr("nyc")
	require.NoError(t, err)
	assert.Equal(t, 1, ams.log.count("taken for dead"))

	// It comes back at another address of its own, knowing only one peer.
	back := start(t, "nyc", "127.0.0.4:0", 1, []netip.AddrPort{fra.Bind()})
	assert.Equal(t, back.Bind(), ams.sees(t, "nyc", Alive).Gossip)
	back.sees(t, "ams", Alive)
	fra.sees(t, "nyc", Alive)

	// One leaves in order.
	require.NoError(t, fra.Close())
	ams.sees(t, "fra", Left)
	back.sees(t, "fra", Left)
	assert.Zero(t, ams.log.count(`does not answer: taken for dead" node=fra`))
}

func TestJoinsWhenPeersComeLater(t *testing.T) {
	ams := start(t, "ams", "127.0.0.1:0", 1, nil)
	bind := ams.Bind()
	ams.kill()
	fra := start(t, "fra", "127.0.0.2:0", 1, []netip.AddrPort{bind})
	assert.Len(t, fra.Members(), 1)
	start(t, "ams", bind.String(), 1, nil)
	fra.sees(t, "ams", Alive)
}

func TestJoinsAgainAfterBeingAlone(t *testing.T) {
	ams := start(t, "ams", "127.0.0.1:0", 1, nil)
	fra := start(t, "fra", "127.0.0.2:0", 1, []netip.AddrPort{ams.Bind()}, func(c *Config) {
		tune := c.tune
		c.tune = func(m *memberlist.Config) { tune(m); m.GossipToTheDeadTime = time.Millisecond } // it gives up the dead
	})
	fra.sees(t, "ams", Alive)
	bind := ams.Bind()
	ams.kill()
	fra.sees(t, "ams", Dead)
	start(t, "ams", bind.String(), 1, nil) // knows nobody itself
	fra.sees(t, "ams", Alive)
}

func TestWrongKeyIsRefused(t *testing.T) {
	ams := start(t, "ams", "127.0.0.1:0", 1, nil)
	eve := start(t, "eve", "127.0.0.5:0", 2, []netip.AddrPort{ams.Bind()})
	require.Eventually(t, func() bool {
		return ams.log.count("refused a node that gossips with another key") == 1 && eve.log.count("the peer gossips with another key") == 1
	}, 20*time.Second, 10*time.Millisecond, "ams: %s\neve: %s", &ams.log.buf, &eve.log.buf)
	// She tries a second time, and it is neither let in nor complained of again.
	_, err := eve.list.Join([]string{ams.Bind().String()})
	require.Error(t, err)
	assert.Len(t, ams.Members(), 1)
	assert.Len(t, eve.Members(), 1)
	assert.Equal(t, 1, ams.log.count("another key"))
}

func TestNameConflictIsLogged(t *testing.T) {
	ams := start(t, "ams", "127.0.0.1:0", 1, nil)
	fra := start(t, "fra", "127.0.0.2:0", 1, []netip.AddrPort{ams.Bind()})
	fra.sees(t, "ams", Alive)
	impostor := start(t, "ams", "127.0.0.6:0", 1, []netip.AddrPort{fra.Bind()})
	require.Eventually(t, func() bool {
		return fra.log.count("two nodes have one name") > 0 && impostor.log.count("another node has this node's name") > 0
	}, 20*time.Second, 10*time.Millisecond, "fra: %s\nimpostor: %s", &fra.log.buf, &impostor.log.buf)
	assert.Equal(t, ams.Bind(), fra.sees(t, "ams", Alive).Gossip, "the first keeps its name")
}

func TestOpenErrors(t *testing.T) {
	config := Config{Node: "ams", Site: "ams", QUIC: netip.MustParseAddrPort("192.0.2.1:7400"), Bind: netip.MustParseAddrPort("127.0.0.1:0"), Log: slog.New(slog.DiscardHandler)}
	_, err := Open(t.Context(), config)
	require.ErrorContains(t, err, "0 bytes, not 32")
	config.Key = make([]byte, KeySize)

	long := config
	long.Version = strings.Repeat("v", 600)
	_, err = Open(t.Context(), long)
	require.ErrorContains(t, err, "too long")

	first, err := Open(t.Context(), config)
	require.NoError(t, err)
	config.Bind = first.Bind()
	_, err = Open(t.Context(), config)
	require.ErrorContains(t, err, "address already in use")
	require.NoError(t, first.Close())
}

func TestCloseDoesNotWaitForHostsThatAreOff(t *testing.T) {
	// 192.0.2.0/24 is for documentation: nothing answers there, if a route leads there at all.
	n := start(t, "ams", "127.0.0.1:0", 1, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.99:7946")}, func(c *Config) {
		tune := c.tune
		c.tune = func(m *memberlist.Config) { tune(m); m.TCPTimeout = time.Hour }
	})
	began := time.Now()
	require.NoError(t, n.Close())
	assert.Less(t, time.Since(began), 10*time.Second)
}

func TestWatchCoalescesAndEnds(t *testing.T) {
	n := start(t, "ams", "127.0.0.1:0", 1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	c := n.Watch(ctx)
	for range 10 {
		n.mu.Lock()
		n.changed()
		n.mu.Unlock()
	}
	<-c
	assert.Empty(t, c)
	cancel()
	for {
		if _, open := <-c; !open {
			return
		}
	}
}

func TestMeta(t *testing.T) {
	for _, m := range []metadata{
		{Site: "amsterdam", QUIC: netip.MustParseAddrPort("10.77.1.1:7400"), Version: "v0.1.0-12-gabcdef"},
		{QUIC: netip.MustParseAddrPort("[2001:db8::1]:65535")},
		{Site: strings.Repeat("s", 63), QUIC: netip.MustParseAddrPort("[2001:db8::1]:1"), Version: strings.Repeat("v", 128)},
	} {
		b, err := encodeMeta(m)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(b), memberlist.MetaMaxSize)
		got, err := decodeMeta(b)
		require.NoError(t, err)
		assert.Equal(t, m, got)
		// What a later version appends is ignored.
		got, err = decodeMeta(append(b, "more"...))
		require.NoError(t, err)
		assert.Equal(t, m, got)
		for cut := range b {
			_, err := decodeMeta(b[:cut])
			assert.Error(t, err, "cut after %d bytes", cut)
		}
	}
	_, err := decodeMeta([]byte{2, 0, 0, 0})
	require.Error(t, err)
	_, err = encodeMeta(metadata{Site: strings.Repeat("s", memberlist.MetaMaxSize), QUIC: netip.MustParseAddrPort("10.77.1.1:7400")})
	require.Error(t, err)
}

func FuzzDecodeMeta(f *testing.F) {
	b, err := encodeMeta(metadata{Site: "ams", QUIC: netip.MustParseAddrPort("10.77.1.1:7400"), Version: "v1"})
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := encodeMeta(m)
		if err != nil {
			return // its uvarints were shorter than they had to be
		}
		got, err := decodeMeta(again)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(m) {
			t.Fatalf("%v became %v: %v", m, got, err)
		}
	})
}

func TestLogLevels(t *testing.T) {
	log := &lines{}
	w := &logWriter{log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), complain: newComplaints(slog.New(slog.DiscardHandler))}
	for line, want := range map[string]string{
		"[DEBUG] memberlist: a\n": "level=DEBUG msg=a",
		"[INFO] memberlist: b\n":  "level=INFO msg=b",
		"[WARN] memberlist: c\n":  "level=WARN msg=c",
		"[ERR] memberlist: d\n":   "level=WARN msg=d",
		"[ERR] Failed to e\n":     `level=WARN msg="Failed to e"`,
		"Err: f":                  `level=INFO msg="Err: f"`,
		"":                        `level=INFO msg=""`,
	} {
		_, err := w.Write([]byte(line))
		require.NoError(t, err)
		assert.Equal(t, 1, log.count(want), "%q in\n%s", want, &log.buf)
	}
}
