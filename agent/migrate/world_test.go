package migrate

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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// world is two hosts and the mesh's committed state, in memory. Each call of a port passes through at, which
// injects the faults; everything that a call changes is the world's, so that it outlives an agent.
type world struct {
	t *testing.T

	mu       sync.Mutex
	machine  *state.Machine
	watchers []chan struct{}
	hosts    map[string]*host
	calls    []string
	points   []string // that moves have come to
	moves    int
	streams  []*milestones
	failover state.FailoverPolicy // of the pod
	fault    func(point string, when moment) error
}

// moment is when a fault strikes: before a call has had its effect, or after.
type moment string

const (
	before moment = "before"
	after  moment = "after"
)

// host is what exists on a host, whether its agent lives or not.
type host struct {
	name                       string
	dir                        string
	running, frozen, restored  bool
	diverted, shut             bool
	prepared, images, gateOpen bool
	starts                     int // how often the pod was let run from images
	agent                      *agent
	plan                       Plan // of Prepare
	hangs                      bool // restores do
	lease                      state.Lease
}

// agent is one life of a host's agent.
type agent struct {
	world    *world
	host     *host
	life     context.Context
	stop     context.CancelFunc // cleanly
	killed   atomic.Bool
	arrivals *Arrivals
	refusals []Refusal // that it has against every move, as source and as target
}

// kill ends the agent as SIGKILL does: nothing that it tries from then on has an effect.
func (a *agent) kill() {
	a.killed.Store(true)
	a.stop()
}

var errFault = errors.New("injected fault")

func newWorld(t *testing.T) *world {
	w := emptyWorld(t)
	w.begin()
	return w
}

// begin has the pod run on ams.
func (w *world) begin() {
	r := w.machine.Apply(state.CreatePod{
		Name: "redis", UID: "u1", Manifest: []byte(`{}`), Node: "ams", Failover: w.failover,
		Containers: []state.Container{{Name: "main", Layers: []state.Digest{"sha256:" + state.Digest(bytes.Repeat([]byte("a"), 64))}}},
	})
	require.True(w.t, r.OK, r.Reason)
	w.hosts["ams"].running = true
}

func emptyWorld(t *testing.T) *world {
	w := &world{t: t, machine: state.New(), hosts: map[string]*host{}, fault: func(string, moment) error { return nil }}
	for i, name := range []string{"ams", "fra"} {
		w.hosts[name] = &host{name: name, dir: memory(t)}
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, byte(i + 1), 1}), 7400)
		require.True(t, w.machine.Apply(state.RegisterNode{Node: state.Node{Name: name, Site: name, Addr: addr, Gossip: addr}}).OK)
	}
	require.True(t, w.machine.Apply(state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")}).OK)
	return w
}

// start begins a life of a host's agent, and recovers what an earlier one left.
func (w *world) start(name string) *agent {
	h := w.hosts[name]
	a := &agent{world: w, host: h}
	a.life, a.stop = context.WithCancel(context.Background())
	a.arrivals = NewArrivals(a.life, a.config(), destination{a})
	w.mu.Lock()
	h.agent = a
	w.mu.Unlock()
	require.NoError(w.t, a.arrivals.Recover())
	return a
}

func (a *agent) config() Config {
	return Config{Node: a.host.name, Journals: a.host.dir, Ledger: a, Leases: a, Log: slog.New(slog.DiscardHandler), Reach: a.world.reach}
}

func (a *agent) dead() bool { return a.killed.Load() }

// at runs effect as the call named point of this agent.
func (a *agent) at(point string, effect func() error) error {
	w := a.world
	point = a.host.name + " " + point
	w.mu.Lock()
	w.calls = append(w.calls, point)
	fault := w.fault
	w.mu.Unlock()
	if a.dead() {
		return errFault
	}
	if err := fault(point, before); err != nil {
		return err
	}
	if a.dead() {
		return errFault
	}
	w.mu.Lock()
	err := effect()
	w.check()
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err := fault(point, after); err != nil {
		return err
	}
	if a.dead() {
		return errFault
	}
	return nil
}

// check is what must be true at every moment. w.mu is held.
func (w *world) check() {
	running := 0
	for _, h := range w.hosts {
		if h.running && !h.frozen {
			running++
		}
	}
	if running > 1 {
		w.t.Errorf("two copies run")
	}
}

// The ledger.

func (a *agent) Propose(ctx context.Context, c state.Command) (r state.Result, err error) {
	err = a.at(fmt.Sprintf("propose %T", c), func() error {
		r = a.world.machine.Apply(c)
		a.world.ring()
		return nil
	})
	return r, errors.Join(err, ctx.Err())
}

// ring tells the agents that something has changed. w.mu is held.
func (w *world) ring() {
	for _, ch := range w.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (a *agent) View() state.View {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	return a.world.machine.View()
}

func (a *agent) Watch(context.Context) <-chan struct{} {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	ch := make(chan struct{}, 1)
	a.world.watchers = append(a.world.watchers, ch)
	return ch
}

// The source.

type source struct{ *agent }

func (s source) Facts(context.Context, state.Pod) (Facts, error) {
	return Facts{Refusals: s.refusals}, s.at("facts", func() error { return nil })
}

func (s source) Layer(_ context.Context, _ state.Digest, w io.Writer) error {
	return s.at("layer", func() error { _, err := w.Write([]byte("layer")); return err })
}

func (s source) Upper(state.Pod) (Upper, error) {
	return upper(s), s.at("upper", func() error { return nil })
}

type upper struct{ *agent }

func (u upper) Pack(_ context.Context, w io.Writer, _ bool) error {
	return u.at("pack", func() error { _, err := w.Write([]byte("upper")); return err })
}

func (s source) Cutover(context.Context, state.Pod, string) (Cutover, error) {
	return cutover(s), s.at("cutover", func() error { return nil })
}

type cutover struct{ *agent }

func (c cutover) Divert() error {
	return c.at("divert", func() error { c.host.diverted = true; return nil })
}
func (c cutover) Drain(context.Context) error { return c.at("drain", func() error { return nil }) }
func (c cutover) ShutEgress() error {
	return c.at("shut egress", func() error { c.host.shut = true; return nil })
}
func (c cutover) Close() error { return nil }

func (s source) Dump(ctx context.Context, _ Plan) (Dump, error) {
	return &dump{agent: s.agent, life: ctx, images: make(chan Image, 2)}, s.at("dump", func() error { return nil })
}

type dump struct {
	*agent
	life   context.Context // CRIU's
	images chan Image
	once   sync.Once
}

func (d *dump) Run(_ context.Context, onLock, onDumped func() error) error {
	defer d.Cancel()
	if err := d.life.Err(); err != nil {
		return err
	}
	if err := onLock(); err != nil {
		return err
	}
	if err := d.at("run dump", func() error {
		if !d.host.frozen {
			d.world.t.Errorf("the pod is dumped while it runs")
		}
		d.host.images = true
		return nil
	}); err != nil {
		return err
	}
	for _, name := range []string{"core-1.img", "pages-1.img"} {
		path := filepath.Join(d.world.t.TempDir(), name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			return err
		}
		d.images <- Image{Name: "main/" + name, Path: path}
	}
	return onDumped()
}
func (d *dump) Images() <-chan Image { return d.images }
func (d *dump) Cancel() error        { d.once.Do(func() { close(d.images) }); return nil }

func (s source) Freeze(context.Context, state.Pod) error {
	return s.at("freeze", func() error { s.host.frozen = true; return nil })
}

func (s source) Thaw(context.Context, Plan) error {
	return s.at("thaw", func() error {
		s.host.frozen, s.host.shut, s.host.diverted, s.host.images = false, false, false, false
		return nil
	})
}

func (s source) Revive(context.Context, Plan) error {
	return s.at("revive", func() error {
		s.host.frozen, s.host.shut, s.host.diverted, s.host.images = false, false, false, false
		return nil
	})
}

func (s source) Retire(context.Context, Plan) error {
	return s.at("retire", func() error {
		if s.host.running && !s.host.shut {
			s.world.t.Errorf("the frozen copy is destroyed with its egress open: its peers would get RST")
		}
		s.host.running, s.host.frozen, s.host.shut, s.host.diverted, s.host.images = false, false, false, false, false
		return nil
	})
}

// The target, as the source calls it: each call passes the fault points of the source, then those of the target.

type peer struct {
	*agent
	to *host
}

func (p peer) serve(point string, f func(a *Arrivals) error) error {
	return p.at("call "+point, func() error {
		to := p.to.agent
		p.world.mu.Unlock()
		defer p.world.mu.Lock()
		if to.life.Err() != nil { // one that stops serves nobody
			return errFault
		}
		return f(to.arrivals)
	})
}

func (p peer) Preflight(ctx context.Context, plan Plan, f Facts) (o Offer, err error) {
	err = p.serve("preflight", func(a *Arrivals) error { o, err = a.Preflight(ctx, plan.Source, plan, f); return err })
	return o, err
}

func (p peer) Prepare(ctx context.Context, plan Plan) error {
	return p.serve("prepare", func(a *Arrivals) error { return a.Prepare(ctx, plan.Source, plan) })
}

func (p peer) Warm(context.Context) error { return p.at("warm", func() error { return nil }) }

func (p peer) SendLayer(ctx context.Context, plan Plan, d state.Digest, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return p.serve("layer", func(a *Arrivals) error { return a.Layer(ctx, plan.Source, plan.ID, d, io.NopCloser(&b)) })
}

func (p peer) SendUpper(ctx context.Context, plan Plan, _ bool, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return p.serve("upper", func(a *Arrivals) error { return a.Upper(ctx, plan.Source, plan.ID, io.NopCloser(&b)) })
}

func (p peer) SendImages(_ context.Context, plan Plan) (ImageWriter, error) {
	return images{p, plan}, p.at("call images", func() error { return nil })
}

type images struct {
	peer
	plan Plan
}

func (i images) Send(_ context.Context, image Image) (f File, err error) {
	content, err := os.ReadFile(image.Path)
	if err != nil {
		return File{}, err
	}
	name := image.Name
	err = i.serve("image", func(a *Arrivals) error {
		x, err := a.find(i.plan.Source, i.plan.ID)
		if err != nil {
			return err
		}
		if err := a.Image(i.plan.Source, i.plan.ID, name, io.NopCloser(bytes.NewReader(content))); err != nil {
			return err
		}
		f = x.cargo.images[name]
		return nil
	})
	return f, err
}
func (i images) Close() error { return nil }

func (p peer) Restore(ctx context.Context, plan Plan, m Manifest) (Milestones, error) {
	s := &milestones{ch: make(chan Milestone, 10), broken: make(chan struct{})}
	context.AfterFunc(ctx, func() { s.Close() })
	p.world.mu.Lock()
	p.world.streams = append(p.world.streams, s)
	p.world.mu.Unlock()
	return s, p.serve("restore", func(a *Arrivals) error {
		p.world.mu.Lock()
		to := p.to.agent
		p.world.mu.Unlock()
		go func() {
			if err := a.TakeOver(plan.Source, plan.ID, m, func(m Milestone) { s.ch <- m }); err != nil {
				s.ch <- Milestone{Name: Failed, Error: err.Error()}
			}
		}()
		context.AfterFunc(to.life, func() { s.Close() })
		return nil
	})
}
func (p peer) RTT() time.Duration { return 50 * time.Millisecond }
func (p peer) Sent() int64        { return 0 }

type milestones struct {
	ch     chan Milestone
	broken chan struct{}
	once   sync.Once
}

func (m *milestones) Next() (Milestone, error) {
	select {
	case x := <-m.ch:
		return x, nil
	case <-m.broken:
		return Milestone{}, errors.New("connection lost")
	}
}
func (m *milestones) Close() error { m.once.Do(func() { close(m.broken) }); return nil }

// The destination.

type destination struct{ *agent }

func (d destination) Check(context.Context, Plan, Facts) (o Offer, err error) {
	return Offer{Refusals: d.refusals, Missing: []state.Digest{"sha256:1"}}, d.at("check", func() error { return nil })
}
func (d destination) Prepare(_ context.Context, p Plan) error {
	return d.at("prepare", func() error {
		d.host.plan, d.host.prepared = p, true
		return nil
	})
}
func (d destination) ImportLayer(_ context.Context, _ Plan, _ state.Digest, r io.Reader) error {
	return d.at("import layer", func() error { _, err := io.Copy(io.Discard, r); return err })
}
func (d destination) ApplyUpper(_ context.Context, _ Plan, r io.Reader) error {
	return errors.Join(d.at("apply upper", func() error { return nil }), drained(r))
}
func (d destination) CreateImage(Plan, string) (io.WriteCloser, error) {
	return discard{io.Discard}, d.at("create image", func() error { d.host.images = true; return nil })
}

func drained(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

func (d destination) Restore(context.Context, Plan) (Restore, error) {
	return restore(d), d.at("start restore", func() error {
		if d.host.running {
			d.world.t.Errorf("a pod that runs is restored again")
		}
		d.host.restored = true
		return nil
	})
}

type restore struct{ *agent }

func (r restore) Wait(ctx context.Context) error {
	if r.host.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return r.at("wait restore", func() error { return nil })
}
func (r restore) Resume(context.Context) error {
	return r.at("resume", func() error {
		if !r.host.restored {
			return errors.New("nothing is restored")
		}
		m, _ := r.world.machine.View().Pod("redis")
		if m.Node != r.host.name {
			r.world.t.Errorf("%s lets the pod run and %s owns it", r.host.name, m.Node)
		}
		r.host.restored, r.host.running = false, true
		r.host.starts++
		return nil
	})
}
func (d destination) Cancel(context.Context, Plan) error {
	return d.at("cancel", func() error {
		if d.host.running {
			return ErrRan
		}
		d.host.restored = false
		return nil
	})
}

func (d destination) Release(context.Context, Plan) error {
	return d.at("release", func() error { d.host.gateOpen = true; return nil })
}
func (d destination) Discard(context.Context, Plan) error {
	return d.at("discard", func() error {
		if d.host.running {
			d.world.t.Errorf("a pod that runs is discarded")
		}
		d.host.prepared, d.host.images, d.host.restored = false, false, false
		return nil
	})
}
func (d destination) Destroy(context.Context, Plan) error {
	return d.at("destroy", func() error {
		d.host.running, d.host.frozen, d.host.prepared, d.host.images, d.host.restored = false, false, false, false, false
		return nil
	})
}
func (d destination) Forget(context.Context, Plan) error {
	return d.at("forget", func() error { d.host.images = false; return nil })
}
