package migrate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// A driver carries out what a machine of package decide has decided, and tells it what came of that. It decides nothing.
// The goroutine of run alone has the machine.
type driver struct {
	Config
	plan    Plan
	role    Role
	machine machine
	hands   hands
	journal *Journal // nil until the first Record

	work   context.Context //nolint:containedctx // that of run, for what it starts
	steps  context.Context //nolint:containedctx // of the steps; what one of them opens may last until they are stopped
	stop   context.CancelFunc
	inbox  chan event
	over   chan struct{} // closed when nobody takes from the inbox any more
	jobs   sync.WaitGroup
	going  int                    // jobs of which the machine has not heard yet
	timers map[decide.Timer]timer // that have not fired
	set    uint64                 // how many were
	errs   map[string]error       // what the machine knows by their words
	unask  context.CancelFunc     // ends the proposal before
	seen   decide.Seen
	tenure tenure
	end    *decide.Finish
}

// machine is decide.Source or decide.Target.
type machine interface {
	Handle(decide.Input) []decide.Action
}

// hands is what the two ends do differently. Each context ends with the agent.
type hands interface {
	// decided hears of each action before it is carried out. It must not block.
	decided(decide.Action)
	// recorded comes between the record of a step and the step itself.
	recorded(context.Context, decide.Step)
	// do does a step.
	do(context.Context, decide.Step) error
	// proposing comes before a command is proposed.
	proposing(context.Context, state.Command)
	// handled hears of each input when the machine has handled it. It must not block.
	handled(decide.Input)
	// fired says what the machine is told when a timer fires.
	fired(decide.Timer) decide.Input
}

// maxErrors bounds how many errors a driver remembers.
const maxErrors = 64

// event is an input for the machine, with the error that it speaks of.
type event struct {
	in  decide.Input
	err error
	job bool   // it ends one
	of  uint64 // with Fired, the timer's number

	ahead decide.Step // no input, but a step that will be recorded soon
}

// timer is one that was set, and has not fired.
type timer struct {
	*time.Timer
	number uint64
}

func newDriver(c Config, p Plan, role Role, m machine, h hands) *driver {
	return &driver{
		Config: c, plan: p, role: role, machine: m, hands: h, inbox: make(chan event), over: make(chan struct{}),
		timers: map[decide.Timer]timer{}, errs: map[string]error{}, tenure: newTenure(), unask: func() {},
	}
}

// run drives the machine to its end. The error is that work has ended before, or life, and nothing was under way any more:
// then the next agent goes on by the journal. When run returns nothing that it has started goes on.
func (d *driver) run(life, work context.Context) (*decide.Finish, error) {
	work, cancel := context.WithCancel(work)
	d.work = work
	d.steps, d.stop = context.WithCancel(work)
	defer d.jobs.Wait()
	defer close(d.over)
	defer d.stopTimers()
	defer cancel()
	defer func() { d.stop(); d.unask() }()
	changes, leases, ending := d.Ledger.Watch(work), d.watchLease(work), life.Done()
	d.hear(event{in: decide.Begin{}})
	d.lookAtLease()
	d.look()
	for d.end == nil {
		if work.Err() != nil { // what fails from now on fails because of that
			return nil, work.Err()
		}
		if life.Err() != nil && d.idle() {
			return nil, life.Err()
		}
		select {
		case e := <-d.inbox:
			switch {
			case work.Err() != nil:
			case e.ahead != "":
				d.recordAhead(e.ahead)
			default:
				d.handle(e)
			}
		case <-changes:
			d.look()
		case <-leases:
			d.lookAtLease()
		case <-d.tenure.over.C:
			d.lookAtLease()
		case <-ending:
			ending = nil
		case <-work.Done():
		}
	}
	return d.end, nil
}

// idle says that nothing is under way, and nothing waits to be tried again.
func (d *driver) idle() bool {
	_, asking := d.timers[decide.AskAgain]
	_, trying := d.timers[decide.TryAgain]
	return d.going == 0 && !asking && !trying
}

func (d *driver) stopTimers() {
	d.tenure.over.Stop()
	for _, t := range d.timers {
		t.Stop()
	}
}

// tell tells the machine of something, unless it is over.
func (d *driver) tell(e event) {
	select {
	case d.inbox <- e:
	case <-d.over:
	}
}

// look tells the machine what this node's view has of the move, if that has changed.
func (d *driver) look() {
	var now decide.Seen
	v := d.Ledger.View()
	if m, ok := v.Migration(d.plan.ID); ok {
		now.Migration = &m
	}
	if p, ok := v.Pod(d.plan.Pod.Name); ok && p.UID == d.plan.Pod.UID {
		now.Pod = &p
	}
	if !alike(now, d.seen) {
		d.seen = now
		d.handle(event{in: now})
	}
}

// alike compares what a machine looks at.
func alike(a, b decide.Seen) bool {
	if (a.Migration == nil) != (b.Migration == nil) || (a.Pod == nil) != (b.Pod == nil) {
		return false
	}
	return (a.Migration == nil || *a.Migration == *b.Migration) &&
		(a.Pod == nil || a.Pod.Node == b.Pod.Node && a.Pod.Epoch == b.Pod.Epoch && a.Pod.Migration == b.Pod.Migration)
}

// handle gives the machine an input, after what is to be known of the lease.
func (d *driver) handle(e event) {
	d.lookAtLease()
	d.hear(e)
}

// hear gives the machine an input, and all that follows from it at once.
func (d *driver) hear(e event) {
	for queue := []event{e}; len(queue) > 0; queue = queue[1:] {
		e := queue[0]
		if e.job {
			d.going--
		}
		if e.err != nil {
			if len(d.errs) == maxErrors { // of what fails again and again, nobody asks for the first ones
				clear(d.errs)
			}
			d.errs[e.err.Error()] = e.err
		}
		in := e.in
		if f, ok := in.(decide.Fired); ok {
			if d.timers[f.Timer].number != e.of { // it was set anew just then
				continue
			}
			delete(d.timers, f.Timer)
			in = d.hands.fired(f.Timer)
		}
		for _, a := range d.machine.Handle(in) {
			if next, ok := d.carryOut(a); ok {
				queue = append(queue, next)
			}
		}
		d.hands.handled(in)
	}
}

// failure is the error of which a machine knows the words.
func (d *driver) failure(why string) error {
	if err, ok := d.errs[why]; ok {
		return err
	}
	return errors.New(why)
}
