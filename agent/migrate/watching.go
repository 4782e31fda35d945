package migrate

import (
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// going is the step of a departure that goes on, as those who watch see it.
type going struct {
	step
	begun time.Time
	sent  int64  // when it began
	still func() // ends the telling of how it goes
}

// decided implements hands: it tells those who watch which step begins, and how the one before has ended.
func (d *Departure) decided(a decide.Action) {
	switch a := a.(type) {
	case decide.Do:
		if a.Step == decide.Preflight {
			d.enter(a.Step)
		}
	case decide.Record:
		d.leave(nil)
		d.enter(a.Step)
	case decide.Propose:
		if abort, ok := a.Command.(state.Abort); ok && d.failed == nil {
			cause := d.driver.failure(abort.Reason)
			d.failed = &Error{Pod: d.plan.Pod.Name, Step: string(d.now.Step), Node: d.where(d.now.step), Cause: cause}
			d.leave(cause)
		}
	case decide.Finish:
		switch {
		case a.Outcome == decide.Untouched:
			d.leave(d.driver.failure(a.Why))
		case d.failed == nil:
			d.leave(nil)
		}
	}
}

// enter begins a step of the pipeline.
func (d *Departure) enter(s decide.Step) {
	for _, row := range pipeline() {
		if row.Step == s {
			d.now = going{step: row, begun: time.Now(), sent: d.target.Sent()}
		}
	}
	d.notes = ""
	d.tell(Progress{Step: string(s), Node: d.where(d.now.step), Status: Started})
	d.now.still = d.tellGoing(d.now)
}

// leave ends the step that goes on. err is why it was not done.
func (d *Departure) leave(err error) {
	d.now.still()
	p := Progress{
		Step: string(d.now.Step), Node: d.where(d.now.step), Status: Done,
		Elapsed: time.Since(d.now.begun), Bytes: d.target.Sent() - d.now.sent, Note: d.notes,
	}
	if err == nil {
		d.steps = append(d.steps, StepTime{p.Step, p.Elapsed})
		d.tell(p)
		return
	}
	p.Status, p.Note = Broken, err.Error()
	if refused, ok := errors.AsType[*RefusedError](err); ok { // the whole of it follows
		p.Note = refused.Summary()
	}
	d.tell(p)
}

// outcome is what Run says of the end of a move, nil if the pod runs at the target. Without an end it is not settled yet.
func (d *Departure) outcome(end *decide.Finish, unsettled error) error {
	switch {
	case end == nil && d.driver.journal == nil: // nothing was reserved, so nothing has changed
		d.leave(unsettled)
		return unsettled
	case end == nil && d.failed == nil:
		d.leave(unsettled)
		d.failed = &Error{Pod: d.plan.Pod.Name, Step: string(d.now.Step), Node: d.where(d.now.step), Cause: unsettled}
		fallthrough
	case end == nil:
		d.failed.Settled = fmt.Sprintf("it is not settled yet what becomes of the pod: %v; the agent will go on when it starts", unsettled)
		return d.failed
	case end.Outcome == decide.Moved:
		return nil
	case end.Outcome == decide.Untouched:
		return d.driver.failure(end.Why)
	}
	source, note := d.plan.Source, "the pod goes on at "+d.plan.Source
	switch end.Outcome {
	case decide.Revived:
		d.failed.Settled = fmt.Sprintf("%s was lost: the pod goes on at %s from its state at the freeze, without its connections", d.plan.Target, source)
	case decide.Gone:
		note = "the pod is another node's"
		d.failed.Settled = source + " was given up meanwhile, and another node has the pod: see drover pod get"
	default:
		d.failed.Settled = fmt.Sprintf("the pod goes on at %s as if nothing had been", source)
	}
	d.tell(Progress{Step: string(d.now.Step), Node: source, Status: Undone, Note: note})
	return d.failed
}

func (d *Departure) where(s step) string {
	if s.do == nil {
		return d.plan.Target
	}
	return d.plan.Source
}

// tellGoing tells now and then how much a step has sent, until the returned function is called.
func (d *Departure) tellGoing(g going) (end func()) {
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
				d.watch(Progress{
					Step: string(g.Step), Node: d.where(g.step), Status: Going, Elapsed: time.Since(g.begun), Bytes: d.target.Sent() - g.sent,
				})
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
