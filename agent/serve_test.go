package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/transport/wire"
	"github.com/drover-mesh/drover/volumes"
)

// site is the receiving end of moves from ams to fra, with a real transport on loopback and a host of memory.
type site struct {
	machineLedger
	memoryHost
	arrivals *migrate.Arrivals
	layers   *volumes.Store
	plan     migrate.Plan
	from     map[string]*transport.Transport // by node
	to       *transport.Transport
}

// machineLedger commits at once.
type machineLedger struct {
	mu       sync.Mutex
	machine  *state.Machine
	watchers []chan struct{}
}

func (l *machineLedger) Propose(_ context.Context, c state.Command) (state.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.machine.Apply(c)
	for _, w := range l.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	return r, nil
}

func (l *machineLedger) View() state.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machine.View()
}

func (l *machineLedger) Watch(context.Context) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := make(chan struct{}, 1)
	w <- struct{}{}
	l.watchers = append(l.watchers, w)
	return w
}

// memoryHost is a destination that keeps what arrives in memory.
type memoryHost struct {
	mu       sync.Mutex
	calls    []string
	restores int
}

func (h *memoryHost) note(call string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, call)
}

func (h *memoryHost) Check(context.Context, migrate.Plan, migrate.Facts) (migrate.Offer, error) {
	return migrate.Offer{Note: "welcome"}, nil
}
func (h *memoryHost) Prepare(context.Context, migrate.Plan) error { h.note("prepare"); return nil }
func (h *memoryHost) ImportLayer(_ context.Context, _ migrate.Plan, _ state.Digest, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
func (h *memoryHost) ApplyUpper(_ context.Context, _ migrate.Plan, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

type memoryFile struct{ bytes.Buffer }

func (*memoryFile) Close() error { return nil }

func (h *memoryHost) CreateImage(_ migrate.Plan, name string) (io.WriteCloser, error) {
	h.note("image " + name)
	return &memoryFile{}, nil
}
func (h *memoryHost) Restore(context.Context, migrate.Plan) (migrate.Restore, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.restores++
	return restored{}, nil
}
func (h *memoryHost) Release(context.Context, migrate.Plan) error { h.note("release"); return nil }
func (h *memoryHost) Cancel(context.Context, migrate.Plan) error  { return nil }
func (h *memoryHost) Discard(context.Context, migrate.Plan) error { h.note("discard"); return nil }
func (h *memoryHost) Destroy(context.Context, migrate.Plan) error { h.note("destroy"); return nil }
func (h *memoryHost) Forget(context.Context, migrate.Plan) error  { return nil }

type restored struct{}

func (restored) Wait(context.Context) error   { return nil }
func (restored) Resume(context.Context) error { return nil }

func newSite(t *testing.T) *site {
	dir := t.TempDir()
	nodes := []string{"ams", "fra", "eve"}
	require.NoError(t, transport.InitMesh(filepath.Join(dir, "mesh"), "test", nodes))
	m := state.New()
	for i, n := range nodes {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, byte(i + 1), 1}), 7400)
		require.True(t, m.Apply(state.RegisterNode{Node: state.Node{Name: n, Site: n, Addr: addr}}).OK)
	}
	require.True(t, m.Apply(state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")}).OK)
	r := m.Apply(state.CreatePod{Name: "redis", UID: "u1", Manifest: []byte(`{}`), Containers: []state.Container{{Name: "main", Layers: []state.Digest{state.Digest("sha256:" + strings.Repeat("a", 64))}}}, Node: "ams"})
	require.True(t, r.OK, r.Reason)
	s := &site{machineLedger: machineLedger{machine: m}, from: map[string]*transport.Transport{}}
	s.plan = migrate.Plan{ID: "m1", Pod: *r.Pod, Source: "ams", Target: "fra", Mode: migrate.StopCopy}
	require.True(t, m.Apply(state.Reserve{Migration: "m1", Pod: "redis", Source: "ams", Target: "fra"}).OK)

	log := slog.New(slog.DiscardHandler)
	addrs := map[string]netip.AddrPort{}
	listen := func(node string) *transport.Transport {
		id, err := transport.LoadIdentity(filepath.Join(dir, "mesh", node))
		require.NoError(t, err)
		tr, err := transport.Listen(transport.Config{
			Addr: netip.MustParseAddrPort("127.0.0.1:0"), Identity: id, Log: log,
			Resolve: func(node string) (netip.AddrPort, error) {
				if a, ok := addrs[node]; ok {
					return a, nil
				}
				return netip.AddrPort{}, errors.New("no such node")
			},
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = tr.Close() })
		return tr
	}
	s.to = listen("fra")
	control := s.to.Listener(transport.Move)
	addrs["fra"] = netip.MustParseAddrPort(control.Addr().String())
	s.from["ams"], s.from["eve"] = listen("ams"), listen("eve")

	journals := filepath.Join(dir, "journals")
	require.NoError(t, os.Mkdir(journals, 0o700))
	life, end := context.WithCancel(context.Background())
	s.arrivals = migrate.NewArrivals(life, migrate.Config{Node: "fra", Journals: journals, Ledger: &s.machineLedger, Log: log}, &s.memoryHost)
	s.layers = newImageStore(t)
	server := moveServer{arrivals: s.arrivals, layers: s.layers, log: log}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.serve(life, control) })
	serving.Go(func() { _ = server.serve(life, s.to.Listener(transport.Bulk)) })
	t.Cleanup(func() { end(); serving.Wait(); s.arrivals.Close() })
	return s
}

func (s *site) peer(node string) peer { return peer{node: "fra", transport: s.from[node]} }

// image sends one image, and returns what it was.
func (s *site) image(t *testing.T, w migrate.ImageWriter, name, content string) migrate.File {
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	f, err := w.Send(t.Context(), migrate.Image{Name: name, Path: path})
	require.NoError(t, err)
	return f
}

func TestMoveOverTheWire(t *testing.T) {
	s := newSite(t)
	p := s.peer("ams")
	offer, err := p.Preflight(t.Context(), s.plan, migrate.Facts{})
	require.NoError(t, err)
	require.Equal(t, "welcome", offer.Note)
	require.NoError(t, p.Prepare(t.Context(), s.plan))
	require.NoError(t, p.Prepare(t.Context(), s.plan), "twice")
	require.NoError(t, p.SendLayer(t.Context(), s.plan, s.plan.Pod.Containers[0].Layers[0], func(w io.Writer) error { _, err := w.Write(make([]byte, 1<<20)); return err }))
	require.NoError(t, p.SendUpper(t.Context(), s.plan, false, func(w io.Writer) error { _, err := w.Write([]byte("upper")); return err }))
	w, err := p.SendImages(t.Context(), s.plan)
	require.NoError(t, err)
	m := migrate.Manifest{Uppers: 1}
	for i := range 20 {
		m.Images = append(m.Images, s.image(t, w, fmt.Sprintf("core-%d.img", i), strings.Repeat("x", i*10_000)))
	}
	require.NoError(t, w.Close())
	// Two take-overs at once: one does it.
	reached := make(chan []string, 2)
	for range 2 {
		news, err := p.Restore(t.Context(), s.plan, m)
		require.NoError(t, err)
		go func() {
			defer news.Close()
			var names []string
			for {
				x, err := news.Next()
				if err != nil {
					break
				}
				names = append(names, x.Name)
			}
			reached <- names
		}()
	}
	got := append(<-reached, <-reached...)
	require.ElementsMatch(t, []string{migrate.Restored, migrate.Activated, migrate.Resumed, migrate.Released}, got)
	require.Equal(t, 1, s.restores)
	v, _ := s.View().Migration("m1")
	require.Equal(t, state.Done, v.Phase)
}

func TestStrangerIsRefused(t *testing.T) {
	s := newSite(t)
	eve := s.peer("eve")
	_, err := eve.Preflight(t.Context(), s.plan, migrate.Facts{})
	require.Error(t, err)
	require.Error(t, eve.Prepare(t.Context(), s.plan))
	hers := s.plan
	hers.Source = "eve"
	require.Error(t, eve.Prepare(t.Context(), hers))
	require.NoError(t, s.peer("ams").Prepare(t.Context(), s.plan))
	require.Error(t, eve.SendUpper(t.Context(), s.plan, false, func(w io.Writer) error { _, err := w.Write([]byte("x")); return err }))
	w, err := eve.SendImages(t.Context(), s.plan)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "core-1.img")
	require.NoError(t, os.WriteFile(path, []byte("evil"), 0o600))
	_, _ = w.Send(t.Context(), migrate.Image{Name: "core-1.img", Path: path})
	_ = w.Close()
	news, err := eve.Restore(t.Context(), s.plan, migrate.Manifest{})
	require.NoError(t, err)
	_, err = news.Next()
	require.ErrorContains(t, err, "no move")
	require.Equal(t, []string{"prepare"}, s.calls)
}

func TestCallsOutOfOrder(t *testing.T) {
	s := newSite(t)
	p := s.peer("ams")
	require.ErrorContains(t, p.SendUpper(t.Context(), s.plan, false, func(io.Writer) error { return nil }), "no move")
	news, err := p.Restore(t.Context(), s.plan, migrate.Manifest{})
	require.NoError(t, err)
	_, err = news.Next()
	require.ErrorContains(t, err, "no move")
	require.NoError(t, p.Prepare(t.Context(), s.plan))
	news, err = p.Restore(t.Context(), s.plan, migrate.Manifest{})
	require.NoError(t, err)
	_, err = news.Next()
	require.ErrorContains(t, err, "has images, and none was sent")
	for _, kind := range []wire.Type{frameAnswer, frameData, 99} {
		_, err := p.ask(t.Context(), kind, call{})
		require.ErrorContains(t, err, "not known")
	}
	for _, kind := range []wire.Type{framePreflight, framePrepare, frameTakeOver} {
		_, err := p.ask(t.Context(), kind, call{})
		require.Error(t, err)
	}
}

// TestNamesOfImages sends names that would land elsewhere.
func TestNamesOfImages(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "/etc/passwd", "a/b/c", strings.Repeat("../", 50) + "x"} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			s := newSite(t)
			p := s.peer("ams")
			require.NoError(t, p.Prepare(t.Context(), s.plan))
			stream, err := p.open(t.Context(), transport.Bulk, frameImages, call{Move: s.plan.ID})
			require.NoError(t, err)
			defer stream.end()
			require.NoError(t, wire.WriteMessage(stream, frameImage, image{name}))
			_ = writeBody(stream, func(w io.Writer) error { _, err := w.Write([]byte("x")); return err })
			_, err = readAnswer(stream)
			require.ErrorContains(t, err, "can't be the name of an image")
			require.Equal(t, []string{"prepare"}, s.calls)
		})
	}
}

// TestImageThatIsCut cuts the stream of images within one, and between two: the take-over fails at once.
func TestImageThatIsCut(t *testing.T) {
	for name, cut := range map[string]func(t *testing.T, s *site, p peer, w imageWriter){
		"within an image": func(t *testing.T, _ *site, _ peer, w imageWriter) {
			require.NoError(t, wire.WriteMessage(w, frameImage, image{"pages-1.img"}))
			require.NoError(t, wire.WriteFrame(w, frameData, make([]byte, 1000)))
			w.end()
		},
		"between images": func(_ *testing.T, _ *site, _ peer, w imageWriter) { w.end() },
		"by a reset": func(t *testing.T, s *site, _ peer, w imageWriter) {
			require.Eventually(t, func() bool { // what is reset before it arrives was never sent
				s.memoryHost.mu.Lock()
				defer s.memoryHost.mu.Unlock()
				return len(s.calls) == 2
			}, 5*time.Second, time.Millisecond)
			w.Reset(transport.FirstUserCode)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			p := s.peer("ams")
			require.NoError(t, p.Prepare(t.Context(), s.plan))
			w, err := p.SendImages(t.Context(), s.plan)
			require.NoError(t, err)
			f := s.image(t, w, "core-1.img", "core")
			cut(t, s, p, w.(imageWriter))
			begun := time.Now()
			news, err := p.Restore(t.Context(), s.plan, migrate.Manifest{Images: []migrate.File{f, {Name: "pages-1.img"}}})
			require.NoError(t, err)
			_, err = news.Next()
			require.Regexp(t, "EOF|reset", err)
			require.Less(t, time.Since(begun), 10*time.Second, "it waits for what can't come")
			require.Zero(t, s.restores)
		})
	}
}
