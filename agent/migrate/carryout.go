package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// carryOut does what was decided, or starts it. What is known at once is returned.
func (d *driver) carryOut(a decide.Action) (known event, ok bool) {
	d.hands.decided(a)
	switch a := a.(type) {
	case decide.Record:
		return d.record(a.Step)
	case decide.Do:
		d.do(a.Step)
	case decide.Stop:
		d.stop()
		d.steps, d.stop = context.WithCancel(d.work) // for those that undo
	case decide.Propose:
		d.propose(a)
	case decide.SetTimer:
		d.setTimer(a.Timer, a.After)
	case decide.RemoveJournal:
		_ = again(d.work, d.journal.Remove, func(err error) {
			d.Log.Error("removing a journal", "move", d.plan.ID, "err", err)
		})
	case decide.Finish:
		d.end = &a
	}
	return event{}, false
}

func (d *driver) setTimer(name decide.Timer, after time.Duration) {
	if t, ok := d.timers[name]; ok {
		t.Stop()
	}
	d.set++
	e := event{in: decide.Fired{Timer: name}, of: d.set}
	d.timers[name] = timer{time.AfterFunc(after, func() { d.tell(e) }), d.set}
}

// start has something done, whose end is an input.
func (d *driver) start(f func() event) {
	d.going++
	d.jobs.Go(func() {
		e := f()
		e.job = true
		d.tell(e)
	})
}

func (d *driver) record(s decide.Step) (known event, ok bool) {
	if err := d.write(s); err != nil {
		return event{in: decide.RecordFailed{Step: s, Why: err.Error()}, err: err}, true
	}
	recorded := event{in: decide.Recorded{Step: s}}
	if d.Reach == nil {
		return recorded, true
	}
	d.start(func() event {
		d.hands.recorded(d.work, s)
		return recorded
	})
	return event{}, false
}

// recordAhead writes a step to the journal beside what is waited for, so that its Record need not wait for the disk. Should it
// fail, that does it again.
func (d *driver) recordAhead(s decide.Step) {
	if j := d.journal; j != nil {
		d.jobs.Go(func() { _ = j.Begin(string(s)) })
	}
}

// write begins the journal, or writes to it.
func (d *driver) write(s decide.Step) (err error) {
	if d.journal == nil {
		d.journal, err = createJournal(d.Journals, d.role, d.plan)
		return err
	}
	return d.journal.Begin(string(s))
}

func (d *driver) do(s decide.Step) {
	ctx := d.steps
	d.start(func() event {
		err := d.hands.do(ctx, s)
		switch {
		case err == nil:
			return event{in: decide.Done{Step: s}}
		case errors.Is(err, ErrRan):
			return event{in: decide.Ran{Step: s}}
		}
		d.Log.Warn("a step of a move failed", "move", d.plan.ID, "pod", d.plan.Pod.Name, "step", s, "err", err)
		return event{in: decide.Failed{Step: s, Why: err.Error()}, err: err}
	})
}

func (d *driver) propose(p decide.Propose) {
	d.unask()
	ctx, unask := context.WithCancel(d.work)
	d.unask = unask
	d.start(func() event {
		defer unask()
		d.hands.proposing(ctx, p.Command)
		r, err := d.Ledger.Propose(ctx, stamped(p.Command))
		if err != nil {
			return event{in: decide.Unknown{Ask: p.Ask}}
		}
		return event{in: decide.Answered{Ask: p.Ask, Result: r}}
	})
}

// stamped writes the time into a command that takes one.
func stamped(c state.Command) state.Command {
	if r, ok := c.(state.Return); ok && r.Ran {
		r.At = time.Now()
		return r
	}
	return c
}
