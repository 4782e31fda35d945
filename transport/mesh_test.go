package transport_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/drover-mesh/drover/transport"
)

// mesh is a mesh on loopback: identities in a directory and the addresses of its nodes.
type mesh struct {
	t     testing.TB
	dir   string
	mu    sync.Mutex
	addrs map[string]netip.AddrPort
	// transports are those that start opened.
	transports []*transport.Transport
}

func newMesh(t testing.TB, nodes ...string) *mesh {
	t.Helper()
	noStrays(t)
	dir := t.TempDir()
	if err := transport.InitMesh(dir, "test", nodes); err != nil {
		t.Fatal(err)
	}
	m := &mesh{t: t, dir: dir, addrs: map[string]netip.AddrPort{}}
	if _, ok := t.(*testing.T); ok {
		m.watch(patience)
	}
	return m
}

// patience is some times what the slowest test takes on a busy machine.
const patience = 45 * time.Second

// watch fails a test that takes too long: it says where everything stands and closes the transports, so that
// whatever waits for one ends with an error.
func (m *mesh) watch(patience time.Duration) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-done:
		case <-time.After(patience):
			stacks := make([]byte, 1<<20)
			m.t.Errorf("stuck after %v:\n%s", patience, stacks[:runtime.Stack(stacks, true)])
			m.mu.Lock()
			open := slices.Clone(m.transports)
			m.mu.Unlock()
			for _, tr := range open {
				_ = tr.Close()
			}
		}
	})
	m.t.Cleanup(func() {
		close(done)
		wg.Wait()
	})
}

func (m *mesh) resolve(node string) (netip.AddrPort, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	addr, ok := m.addrs[node]
	if !ok {
		return addr, errors.New("no such node")
	}
	return addr, nil
}

// route makes the others find a node at addr.
func (m *mesh) route(node string, addr netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addrs[node] = addr
}

func (m *mesh) config(node string) transport.Config {
	m.t.Helper()
	id, err := transport.LoadIdentity(m.dir + "/" + node)
	if err != nil {
		m.t.Fatal(err)
	}
	return transport.Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Identity: id, Resolve: m.resolve, Log: quiet()}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start opens a node's transport, lets the others find it and closes it at the end of the test.
func (m *mesh) start(config transport.Config) *transport.Transport {
	m.t.Helper()
	tr, err := transport.Listen(config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { tr.Close() })
	m.mu.Lock()
	m.transports = append(m.transports, tr)
	m.mu.Unlock()
	m.route(tr.Node(), tr.Addr())
	return tr
}

// echo serves a kind by sending back what comes until the peer closes its direction.
func echo(t testing.TB, tr *transport.Transport, kind transport.Kind) {
	t.Helper()
	l := tr.Listener(kind)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		tr.Close()
		wg.Wait()
	})
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func dial(t testing.TB, tr *transport.Transport, node string, kind transport.Kind) *transport.Conn {
	t.Helper()
	conn, err := tr.Dial(within(t, 20*time.Second), node, kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// roundTrip sends a text over an echoing stream and returns the error, if it doesn't come back.
func roundTrip(conn *transport.Conn, text string) error {
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != text {
		return errors.New("the echo differs: " + string(got))
	}
	return nil
}
