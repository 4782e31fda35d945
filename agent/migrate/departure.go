package migrate

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// Config is what departures and arrivals of a node work with.
type Config struct {
	Node     string // this node
	Journals string // directory of its journals
	Ledger   Ledger
	Leases   Leases // nil: this node never has one, and lets no pod run that needs it
	Log      *slog.Logger
	Reach    func(ctx context.Context, point string) // see points.go; may be nil
}

// tellEvery is how often those who watch hear of a step that goes on.
const tellEvery = 250 * time.Millisecond

// Departure is a move seen from the node that the pod leaves, which drives it. What it does when, decide.Source decides.
type Departure struct {
	Config
	plan   Plan
	source Source
	target Target
	driver *driver
	watch  func(Progress)

	// What a step leaves for those after it.
	offer      Offer
	upper      Upper
	uppers     int
	cutover    Cutover
	dump       Dump
	milestones Milestones
	listening  sync.WaitGroup

	asked  context.Context //nolint:containedctx // ends when the move is cancelled, for who waits at a point of a drill
	now    going
	steps  []StepTime // those that are done
	notes  string     // of the step that goes on
	failed *Error     // nil as long as nothing has

	sentBefore  int64
	sentFrozen  int64 // sent when the pod was frozen
	frozen      time.Time
	downtime    time.Duration
	frozenBytes int64
}

// NewDeparture readies the move of a pod from this node. watch is called for each thing that happens, one at a
// time; it must not block.
func NewDeparture(c Config, p Plan, s Source, t Target, watch func(Progress)) *Departure {
	return &Departure{Config: c, plan: p, source: s, target: t, watch: watch}
}

// Run moves the pod. When ctx is cancelled before the mesh has activated the move, it is rolled back; after that
// it goes on. life ends with the agent: then Run rolls back what it can within a grace, and leaves the rest to Recover.
//
// The error is an *Error, unless the move was refused before anything had changed (a *RefusedError, or why it
// could not begin).
func (d *Departure) Run(life, ctx context.Context) (Report, error) {
	work, stop := outlive(life)
	defer stop()
	d.asked = ctx
	begun := time.Now()
	d.sentBefore = d.target.Sent()
	d.driver = newDriver(d.Config, d.plan, AsSource, decide.NewSource(d.plan.move()), d)
	defer context.AfterFunc(ctx, func() { d.driver.tell(cancelled(ErrCancelled)) })()
	defer context.AfterFunc(life, func() { d.driver.tell(cancelled(errStopped)) })()
	end, err := d.driver.run(work, work)
	d.close()
	if err := d.outcome(end, err); err != nil {
		return Report{}, err
	}
	return Report{
		Plan:        d.plan,
		Steps:       d.steps,
		Downtime:    d.downtime,
		Total:       time.Since(begun),
		BytesSent:   d.target.Sent() - d.sentBefore,
		FrozenBytes: d.frozenBytes,
	}, nil
}

// errStopped is why a move failed whose agent ends.
var errStopped = fmt.Errorf("the agent stops: %w", context.Canceled)

func cancelled(why error) event {
	return event{in: decide.Cancelled{Why: why.Error()}, err: why}
}

// do implements hands.
func (d *Departure) do(ctx context.Context, s decide.Step) error {
	switch s {
	case decide.Thaw:
		return d.source.Thaw(ctx, d.plan)
	case decide.Revive:
		return d.source.Revive(ctx, d.plan)
	}
	if s == decide.Preflight {
		d.pass(ctx, string(s))
	}
	for _, row := range pipeline() {
		if row.Step == s {
			return row.do(d, ctx)
		}
	}
	return fmt.Errorf("a source does not %s", s)
}

// recorded implements hands.
func (d *Departure) recorded(ctx context.Context, s decide.Step) { d.pass(ctx, string(s)) }

// pass comes to a point at which a drill may stop the move, until somebody cancels that.
func (d *Departure) pass(ctx context.Context, point string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.asked, cancel)()
	d.reach(ctx, AsSource, point)
}

// proposing implements hands: a dump of which nothing is wanted any more ends before the mesh is asked.
func (d *Departure) proposing(_ context.Context, c state.Command) {
	if _, abort := c.(state.Abort); abort && d.dump != nil {
		if err := d.dump.Cancel(); err != nil {
			d.Log.Warn("ending CRIU's dump", "move", d.plan.ID, "err", err)
		}
	}
}

// handled implements hands.
func (d *Departure) handled(decide.Input) {}

// fired implements hands.
func (d *Departure) fired(t decide.Timer) decide.Input { return decide.Fired{Timer: t} }

// prepare is what a reservation has to be followed by.
func (d *Departure) prepare(ctx context.Context) error {
	d.notes = fmt.Sprintf("epoch %d", d.plan.Epoch())
	return d.target.Prepare(ctx, d.plan)
}

func (d *Departure) presync(ctx context.Context) error {
	if err := d.target.Warm(ctx); err != nil { // before anything else has spoilt the path's first speed
		return err
	}
	for _, l := range d.offer.Missing {
		err := d.target.SendLayer(ctx, d.plan, l, func(w io.Writer) error { return d.source.Layer(ctx, l, w) })
		if err != nil {
			return fmt.Errorf("sending layer %s: %w", l, err)
		}
	}
	var err error
	if d.upper, err = d.source.Upper(d.plan.Pod); err != nil {
		return err
	}
	if err := d.sendUpper(ctx, false); err != nil {
		return err
	}
	return d.target.Warm(ctx) // again: what was sent meanwhile may have met losses
}

func (d *Departure) sendUpper(ctx context.Context, final bool) error {
	err := d.target.SendUpper(ctx, d.plan, final, func(w io.Writer) error { return d.upper.Pack(ctx, w, final) })
	if err != nil {
		return fmt.Errorf("sending the writable layer: %w", err)
	}
	d.uppers++
	return nil
}

// freeze begins the downtime. The order of what follows, up to ShutEgress in final, is the one in which no
// connection was ever reset: the hold stands before a socket is read, sockets are drained before the freeze,
// and the kernel of the frozen pod can't answer from then on.
func (d *Departure) freeze(ctx context.Context) error {
	var err error
	if d.cutover, err = d.source.Cutover(ctx, d.plan.Pod, d.plan.Target); err != nil {
		return err
	}
	if d.dump, err = d.source.Dump(ctx, d.plan); err != nil {
		return err
	}
	d.sentFrozen = d.target.Sent()
	d.frozen = time.Now()
	if err := d.cutover.Divert(); err != nil {
		return err
	}
	if err := d.cutover.Drain(ctx); err != nil {
		return err
	}
	return d.source.Freeze(ctx, d.plan.Pod)
}

// final sends each image as soon as it is whole, and what changed in the writable layer once all is dumped.
func (d *Departure) final(ctx context.Context) error {
	images, err := d.dumpAndSend(ctx)
	if err != nil {
		return err
	}
	d.frozenBytes = d.target.Sent() - d.sentFrozen
	d.milestones, err = d.target.Restore(ctx, d.plan, Manifest{Images: images, Uppers: d.uppers})
	if err == nil {
		d.listening.Go(d.listen)
	}
	return err
}

func (d *Departure) dumpAndSend(ctx context.Context) (images []File, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		var err error
		if images, err = d.sendImages(ctx); err != nil {
			cancel(err)
		}
	}()
	err = d.dump.Run(ctx, func() error {
		d.pass(ctx, seized)
		return d.cutover.ShutEgress()
	}, func() error {
		d.pass(ctx, dumped)
		return d.sendUpper(ctx, true)
	})
	if err != nil {
		cancel(err)
	}
	if <-sent; ctx.Err() != nil {
		return nil, context.Cause(ctx) // of the two the one that failed first
	}
	return images, err
}

func (d *Departure) sendImages(ctx context.Context) (files []File, err error) {
	w, err := d.target.SendImages(ctx, d.plan)
	if err != nil {
		return nil, fmt.Errorf("opening the stream of images: %w", err)
	}
	defer func() {
		if closed := w.Close(); err == nil {
			err = closed
		}
	}()
	for i := range d.dump.Images() {
		f, err := w.Send(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("sending image %s: %w", i.Name, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// retire destroys the frozen copy.
func (d *Departure) retire(ctx context.Context) error { return d.source.Retire(ctx, d.plan) }

// listen tells the machine what the target reaches, until there is nothing more to hear.
func (d *Departure) listen() {
	for {
		m, err := d.milestones.Next()
		switch {
		case err != nil:
			err = fmt.Errorf("waiting to hear of %s: %w", d.plan.Target, err)
			d.driver.tell(event{in: decide.Lost{Why: err.Error()}, err: err})
			return
		case m.Name == Failed:
			d.driver.tell(event{in: decide.Lost{Why: m.Error}})
			return
		case m.Name == Resumed:
			d.downtime = time.Since(d.frozen) - d.target.RTT()/2
		}
		d.driver.tell(event{in: decide.Reached{Milestone: decide.Milestone(m.Name)}})
		if m.Name == Released {
			return
		}
	}
}

// close frees what the steps left open. A move that ended has nothing else left.
func (d *Departure) close() {
	if d.milestones != nil {
		_ = d.milestones.Close()
	}
	d.listening.Wait()
	if d.cutover != nil {
		_ = d.cutover.Close()
	}
}
