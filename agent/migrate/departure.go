package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/drover-mesh/drover/state"
)

// Config is what departures and arrivals of a node work with.
type Config struct {
	Node     string // this node
	Journals string // directory of its journals
	Ledger   Ledger
	Log      *slog.Logger
	Reach    func(ctx context.Context, point string) // see points.go; may be nil
}

// tellEvery is how often those who watch hear of a step that goes on.
const tellEvery = 250 * time.Millisecond

// Departure is a move seen from the node that the pod leaves, which drives it.
type Departure struct {
	Config
	plan    Plan
	source  Source
	target  Target
	watch   func(Progress)
	journal *Journal

	// What a step leaves for those after it.
	offer      Offer
	upper      Upper
	uppers     int
	cutover    Cutover
	dump       Dump
	milestones Milestones
	reached    map[string]bool

	steps       []StepTime
	notes       string // of the step that runs
	sentBefore  int64
	sentFrozen  int64 // sent when the pod was frozen
	frozen      time.Time
	downtime    time.Duration
	frozenBytes int64
}

// NewDeparture readies the move of a pod from this node. watch is called for each thing that happens, one at a
// time; it must not block.
func NewDeparture(c Config, p Plan, s Source, t Target, watch func(Progress)) *Departure {
	return &Departure{Config: c, plan: p, source: s, target: t, watch: watch, reached: map[string]bool{}}
}

// Run moves the pod. When ctx is cancelled before the mesh has activated the move, it is rolled back; after that
// it goes on. life ends with the agent: then Run rolls back what it can within a grace, and leaves the rest to Recover.
//
// The error is an *Error, unless the move was refused before anything had changed (a *RefusedError, or why it
// could not begin).
func (d *Departure) Run(life, ctx context.Context) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	work, stop := outlive(life)
	defer stop()
	begun := time.Now()
	d.sentBefore = d.target.Sent()
	defer d.close()
	for _, s := range pipeline() {
		if err := d.step(life, ctx, s); err != nil {
			if settled := d.settle(work, s, err); settled != nil {
				return Report{}, settled
			}
			break // the target runs the pod, and the source is retired
		}
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

func (d *Departure) step(life, ctx context.Context, s step) error {
	if s.name == "retire" {
		ctx = life // nothing to roll back to
	}
	if ctx.Err() != nil {
		return ended(life, ctx.Err())
	}
	if d.journal != nil {
		if err := d.journal.Begin(s.name); err != nil {
			return err
		}
	}
	begun, sent := time.Now(), d.target.Sent()
	d.notes = ""
	d.tell(Progress{Step: s.name, Node: d.where(s), Status: Started})
	still := d.tellGoing(s, begun, sent)
	d.reach(ctx, AsSource, s.name)
	err := s.do(d, ctx)
	still()
	if err != nil && ctx.Err() != nil {
		err = ended(life, err)
	}
	p := Progress{Step: s.name, Node: d.where(s), Status: Done, Elapsed: time.Since(begun), Bytes: d.target.Sent() - sent, Note: d.notes}
	if err != nil {
		p.Status, p.Note = Broken, err.Error()
		if refused, ok := errors.AsType[*RefusedError](err); ok { // the whole of it follows
			p.Note = refused.Summary()
		}
		d.tell(p)
		return err
	}
	d.steps = append(d.steps, StepTime{s.name, p.Elapsed})
	d.tell(p)
	return nil
}

// ended says why a step did not do what it should once its context has ended. If somebody cancelled the move, that is the
// reason, and not what the step met with because of it.
func ended(life context.Context, err error) error {
	if life.Err() != nil {
		return err
	}
	return ErrCancelled
}

func (d *Departure) reserve(ctx context.Context) error {
	var err error
	// The journal comes before the command: an agent that dies in between must know what to abort.
	if d.journal, err = createJournal(d.Journals, AsSource, d.plan); err != nil {
		return err
	}
	r, err := propose(ctx, d.Ledger, state.Reserve{
		Migration: d.plan.ID, Pod: d.plan.Pod.Name, Source: d.plan.Source, Target: d.plan.Target, Epoch: d.plan.Pod.Epoch,
	})
	if err != nil {
		return err
	}
	if !r.OK {
		return errors.New(r.Reason)
	}
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
		d.reach(ctx, AsSource, seized)
		return d.cutover.ShutEgress()
	}, func() error {
		d.reach(ctx, AsSource, dumped)
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

func (d *Departure) restore(ctx context.Context) error  { return d.await(ctx, Restored) }
func (d *Departure) activate(ctx context.Context) error { return d.await(ctx, Activated) }

func (d *Departure) release(ctx context.Context) error {
	if err := d.await(ctx, Resumed); err != nil {
		return err
	}
	d.downtime = time.Since(d.frozen) - d.target.RTT()/2
	return d.await(ctx, Released)
}

// retire destroys the frozen copy once the mesh has recorded that the pod runs at the target.
func (d *Departure) retire(ctx context.Context) error {
	phase, err := awaitOutcome(ctx, d.Ledger, d.plan.ID)
	if err != nil {
		return err
	}
	if phase != state.Done {
		return fmt.Errorf("the target gave the pod back (%s)", phase)
	}
	return d.retireNow(ctx)
}

func (d *Departure) retireNow(ctx context.Context) error {
	if err := d.source.Retire(ctx, d.plan); err != nil {
		return err
	}
	removed(d.Config, d.journal)
	d.journal = nil
	return nil
}

// await waits for the target's word.
func (d *Departure) await(ctx context.Context, name string) error {
	stop := context.AfterFunc(ctx, func() { d.milestones.Close() })
	defer stop()
	for !d.reached[name] {
		m, err := d.milestones.Next()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("waiting to hear that the pod is %s: %w", name, err)
		}
		if m.Name == Failed {
			return errors.New(m.Error)
		}
		d.reached[m.Name] = true
	}
	return nil
}

func (d *Departure) where(s step) string {
	if s.remote {
		return d.plan.Target
	}
	return d.plan.Source
}

// tellGoing tells now and then how much a step has sent, until the returned function is called.
func (d *Departure) tellGoing(s step, begun time.Time, sent int64) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				d.watch(Progress{Step: s.name, Node: d.where(s), Status: Going, Elapsed: time.Since(begun), Bytes: d.target.Sent() - sent})
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}

func (d *Departure) tell(p Progress) {
	d.Log.Info("move", "id", d.plan.ID, "pod", d.plan.Pod.Name, "step", p.Step, "node", p.Node, "status", p.Status, "ms", p.Elapsed.Milliseconds(), "note", p.Note)
	d.watch(p)
}

// close frees what the steps left open. A move that ended has nothing else left.
func (d *Departure) close() {
	if d.milestones != nil {
		_ = d.milestones.Close()
	}
	if d.cutover != nil {
		_ = d.cutover.Close()
	}
}
