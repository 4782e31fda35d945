package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
)

const (
	// heldPatience is how long a drain that has nothing else to do waits for pods that somebody else starts, moves or removes.
	heldPatience = time.Minute
	// lookAgain is how often it looks at them: that a pod has been started shows nowhere else.
	lookAgain = 250 * time.Millisecond
)

// drain moves pods, each to where it fits best at that moment. What can't be moved it names, and goes on with the others.
type drain struct {
	parallel int // pods that move at a time, at least 1
	progress api.DrainProgress

	// pods returns those that shall be moved, in order: the free ones, and those that somebody else holds, with what is
	// done to them.
	pods func() (free []state.Pod, held []heldPod)
	// choose finds a target, or says for each node why it is none. Pods of planned are about to move; nodes of refused have
	// refused the pod.
	choose func(p state.Pod, planned, refused map[string]string) (string, *api.Error)
	// move returns when the move is over: done, or undone. elsewhere says that another target may take the pod.
	move func(ctx context.Context, p state.Pod, target string, progress api.Progress) (report api.Report, elsewhere bool, err error)
	// look says whether a pod could move to a target, as far as can be known without moving it; for a rehearsal. nil takes
	// choose's word for it.
	look func(ctx context.Context, p state.Pod, target string) (elsewhere bool, err error)
	// changes fires when what pods returns may have changed.
	changes <-chan struct{}

	deciding sync.Mutex
	planned  map[string]string // targets of the pods that move, by their UIDs
	telling  sync.Mutex
}

// heldPod is a pod that can't be moved yet.
type heldPod struct {
	state.Pod
	why string
}

// run gives each pod its turn. When ctx ends no more moves begin; when moving ends, which must end ctx too, those that
// have begun are undone. It returns when nothing moves any more.
func (d *drain) run(ctx, moving context.Context) []api.DrainedPod {
	d.planned = map[string]string{}
	var ended []api.DrainedPod
	tried := map[string]bool{}
	over := make(chan api.DrainedPod)
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	patience := time.NewTimer(heldPatience)
	defer patience.Stop()
	stop, running, waited := ctx.Done(), 0, false
	for {
		free, held := d.untried(tried)
		for ; len(free) > 0 && running < d.parallel && ctx.Err() == nil; free = free[1:] {
			p := free[0]
			tried[p.UID] = true
			running++
			go func() { over <- d.turn(ctx, moving, p) }()
		}
		if running == 0 && (ctx.Err() != nil || len(free) == 0 && (len(held) == 0 || waited)) {
			return append(ended, d.leftOver(ctx, free, held)...)
		}
		select {
		case p := <-over:
			running--
			ended = append(ended, p)
			d.tell(func() { d.progress.Ended(p) })
			patience.Reset(heldPatience)
		case <-patience.C:
			waited = running == 0
		case <-d.changes:
		case <-look.C:
		case <-stop:
			stop = nil
		}
	}
}

func (d *drain) untried(tried map[string]bool) (free []state.Pod, held []heldPod) {
	all, others := d.pods()
	for _, p := range all {
		if !tried[p.UID] {
			free = append(free, p)
		}
	}
	for _, p := range others {
		if !tried[p.UID] {
			held = append(held, p)
		}
	}
	return free, held
}

// leftOver tells of the pods that never had their turn.
func (d *drain) leftOver(ctx context.Context, free []state.Pod, held []heldPod) []api.DrainedPod {
	var all []api.DrainedPod
	for _, p := range free {
		all = append(all, api.DrainedPod{Pod: p.Name, From: p.Node, Outcome: api.DrainStays, Reason: "its turn had not come"})
	}
	for _, p := range held {
		x := api.DrainedPod{Pod: p.Name, From: p.Node, Outcome: api.DrainStays, Reason: p.why, Cure: "try again when that has ended"}
		if ctx.Err() != nil {
			x.Reason, x.Cure = "its turn had not come", ""
		}
		all = append(all, x)
	}
	for _, x := range all {
		d.tell(func() { d.progress.Ended(x) })
	}
	return all
}

// turn moves a pod, trying one target after the other as long as they refuse it: each refuses once.
func (d *drain) turn(ctx, moving context.Context, p state.Pod) api.DrainedPod {
	var report api.Report
	out := d.try(ctx, p, func(target string) (elsewhere bool, err error) {
		defer d.release(p)
		report, elsewhere, err = d.move(moving, p, target, podProgress{d, p.Name})
		return elsewhere, err
	})
	if out.To != "" {
		out.Outcome, out.Report = api.DrainMoved, &report
	}
	return out
}

// try chooses targets until one does, or none is left. The pod stays if it returns none.
func (d *drain) try(ctx context.Context, p state.Pod, do func(target string) (elsewhere bool, err error)) api.DrainedPod {
	out := api.DrainedPod{Pod: p.Name, From: p.Node, Outcome: api.DrainStays}
	refused := map[string]string{}
	for {
		target, nowhere := d.reserve(p, refused)
		if nowhere != nil {
			out.Reason, out.Cure, out.Nodes = nowhere.Why, nowhere.Cure, nodeReasons(nowhere)
			return out
		}
		elsewhere, err := do(target)
		if err == nil {
			out.To = target
			return out
		}
		e := api.AsError(err)
		if !elsewhere || ctx.Err() != nil {
			out.Reason, out.Cure, out.Refusals = strings.TrimPrefix(e.What+": "+e.Why, ": "), e.Cure, e.Refusals
			return out
		}
		refused[target] = why(e)
	}
}

// why is what a target said, in a line.
func why(e *api.Error) string {
	if len(e.Refusals) == 0 {
		return e.Why
	}
	var all []string
	for _, r := range e.Refusals {
		line := r.Reason
		if r.Cure != "" {
			line += " (" + r.Cure + ")"
		}
		all = append(all, line)
	}
	return strings.Join(all, "; ")
}

// reserve keeps the room at the target from the others that move at the same time, until release.
func (d *drain) reserve(p state.Pod, refused map[string]string) (string, *api.Error) {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	target, nowhere := d.choose(p, d.planned, refused)
	if nowhere == nil {
		d.planned[p.UID] = target
	}
	return target, nowhere
}

func (d *drain) release(p state.Pod) {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	delete(d.planned, p.UID)
}

// rehearse says what run would do, as far as that can be known.
func (d *drain) rehearse(ctx context.Context) []api.DrainedPod {
	d.planned = map[string]string{}
	var all []api.DrainedPod
	free, held := d.pods()
	for _, p := range held {
		free = append(free, p.Pod)
	}
	for _, p := range free {
		x := d.try(ctx, p, func(target string) (bool, error) {
			if d.look == nil {
				return false, nil
			}
			return d.look(ctx, p, target)
		})
		if x.To != "" {
			x.Outcome = api.DrainWouldMove
		} else {
			d.release(p)
		}
		all = append(all, x)
		d.progress.Ended(x)
	}
	return all
}

func (d *drain) tell(do func()) {
	d.telling.Lock()
	defer d.telling.Unlock()
	do()
}

// podProgress is the progress of one of the pods.
type podProgress struct {
	drain *drain
	pod   string
}

// Started implements [api.Progress].
func (p podProgress) Started(m api.Move) { p.drain.tell(func() { p.drain.progress.Started(m) }) }

// Event implements [api.Progress].
func (p podProgress) Event(e api.Event) {
	p.drain.tell(func() { p.drain.progress.Event(p.pod, e) })
}

func nodeReasons(nowhere *api.Error) []api.NodeReason {
	all := []api.NodeReason{}
	for _, v := range nowhere.Violations {
		all = append(all, api.NodeReason{Node: v.Field, Why: v.Why})
	}
	return all
}

// drainError is nil if no pod stays, else it says what to do next.
func drainError(what string, r api.DrainReport, again, undo string) error {
	tally := fmt.Sprintf("not moved: %d of %d pods", r.Stayed(), len(r.Pods))
	switch {
	case r.Stopped != "":
		return api.Errorf(api.Aborted, what, "%s; %s", r.Stopped, tally).WithCure(again + " goes on\n" + undo)
	case r.Stayed() > 0:
		return api.Errorf(api.FailedPrecondition, what, "%s", tally).WithCure("the report says why; " + again + " tries again\n" + undo)
	}
	return nil
}
