package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
)

// drains lets one drain or undrain of this node go on at a time.
type drains struct {
	mu  sync.Mutex
	now *drainRun // nil if there is none
}

type drainRun struct {
	cancel context.CancelCauseFunc
	over   chan struct{}
}

var errDrainCancelled = errors.New("it was cancelled")

// begin claims the node. moving ends with the run's cancellation or time-out, and not with ctx; the run's own context ends
// with either. The cause of its end says which it was. end must be called.
func (d *drains) begin(ctx context.Context, what string, timeout time.Duration) (run, moving context.Context, end func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now != nil {
		return nil, nil, nil, api.Errorf(api.FailedPrecondition, what, "a drain or undrain of it is under way").WithCure("wait until that has ended")
	}
	moving, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stopTimer := func() {}
	if timeout > 0 {
		moving, stopTimer = context.WithTimeoutCause(moving, timeout, fmt.Errorf("it took longer than %s", timeout))
	}
	run, stop := context.WithCancelCause(moving)
	unhook := context.AfterFunc(ctx, func() { stop(errors.New("whoever asked for it has gone")) })
	x := &drainRun{cancel: cancel, over: make(chan struct{})}
	d.now = x
	return run, moving, func() {
		unhook()
		stop(nil)
		stopTimer()
		cancel(nil)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.now = nil
		close(x.over)
	}, nil
}

func (d *drains) running() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now != nil
}

// DrainNode implements [api.Nodes].
func (b *backend) DrainNode(ctx context.Context, node string, o api.DrainOptions, progress api.DrainProgress) (api.DrainReport, error) {
	what := "draining " + node
	v, err := b.nodeView(ctx, what, node)
	if err != nil {
		return api.DrainReport{}, err
	}
	to := state.Request{To: o.To}
	if d := state.Schedule(v, to); len(d.Nodes) == 0 {
		return api.DrainReport{}, nowhere(what, to, d)
	}
	run, moving, end, err := b.drains.begin(ctx, what, time.Duration(o.TimeoutMS)*time.Millisecond)
	if err != nil {
		return api.DrainReport{}, err
	}
	defer end()
	if !o.DryRun {
		if err := b.setCordon(run, what, node, true); err != nil {
			return api.DrainReport{}, err
		}
	}
	open := func() bool { n, _ := b.quorum.View().Node(node); return !n.Cordoned && !o.DryRun }
	d := b.newDrain(o, progress)
	d.pods = func() ([]state.Pod, []heldPod) {
		if open() { // somebody wants no drain any more
			return nil, nil
		}
		return toDrain(b.quorum.View(), node, b.pods.isBusy)
	}
	d.choose = func(p state.Pod, planned, refused map[string]string) (string, *api.Error) {
		return b.choose(p, state.Request{To: o.To, Planned: planned, Exclude: refused})
	}
	d.move, d.look = b.moveAway, b.lookAway
	r := b.finish(run, moving, d, node, o)
	if open() {
		r.Stopped = "it was uncordoned meanwhile"
	}
	return r, drainError(what, r, "drover node drain "+node,
		fmt.Sprintf("drover node undrain %s --return moves back what was moved, and opens the node to pods again", node))
}

// UndrainNode implements [api.Nodes].
func (b *backend) UndrainNode(ctx context.Context, node string, o api.DrainOptions, progress api.DrainProgress) (api.DrainReport, error) {
	what := "undraining " + node
	if _, err := b.nodeView(ctx, what, node); err != nil {
		return api.DrainReport{}, err
	}
	run, moving, end, err := b.drains.begin(ctx, what, time.Duration(o.TimeoutMS)*time.Millisecond)
	if err != nil {
		return api.DrainReport{}, err
	}
	defer end()
	if !o.DryRun {
		if err := b.setCordon(run, what, node, false); err != nil {
			return api.DrainReport{}, err
		}
	}
	d := b.newDrain(o, progress)
	d.pods = func() ([]state.Pod, []heldPod) {
		if !o.Return {
			return nil, nil
		}
		return toReturn(b.quorum.View(), node)
	}
	d.choose = func(p state.Pod, planned, refused map[string]string) (string, *api.Error) {
		return b.choose(p, state.Request{To: node, Open: node, Planned: planned, Exclude: refused})
	}
	d.move = b.moveBack
	r := b.finish(run, moving, d, node, o)
	return r, drainError(what, r, fmt.Sprintf("drover node undrain %s --return", node), "the node is open to pods again")
}

func (b *backend) newDrain(o api.DrainOptions, progress api.DrainProgress) *drain {
	return &drain{parallel: max(1, o.Parallel), progress: progress}
}

// finish runs a drain, or rehearses it, and reports.
func (b *backend) finish(run, moving context.Context, d *drain, node string, o api.DrainOptions) api.DrainReport {
	names := []string{}
	free, held := d.pods()
	for _, p := range free {
		names = append(names, p.Name)
	}
	for _, p := range held {
		names = append(names, p.Name)
	}
	d.progress.Planned(names)
	r := api.DrainReport{Node: node, Pods: []api.DrainedPod{}}
	if o.DryRun {
		r.Pods = append(r.Pods, d.rehearse(run)...)
	} else {
		d.changes = b.quorum.Watch(run)
		r.Pods = append(r.Pods, d.run(run, moving)...)
	}
	n, _ := b.quorum.View().Node(node)
	r.Cordoned = n.Cordoned
	if run.Err() != nil && r.Stayed() > 0 {
		r.Stopped = context.Cause(run).Error()
	}
	return r
}

// CancelDrain implements [api.Nodes].
func (b *backend) CancelDrain(ctx context.Context, node string) error {
	b.drains.mu.Lock()
	now := b.drains.now
	b.drains.mu.Unlock()
	if now == nil {
		return api.Errorf(api.NotFound, "cancelling the drain of "+node, "none is under way")
	}
	now.cancel(errDrainCancelled)
	select {
	case <-now.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// toDrain are the pods that have to leave a node: its own, and those that come to it by a move that began earlier.
func toDrain(v state.View, node string, busy func(uid string) bool) (free []state.Pod, held []heldPod) {
	for _, p := range v.Pods() {
		g, moving := v.Migration(p.Migration)
		switch {
		case p.Node != node && !(moving && g.Target == node):
		case p.Deleting:
			held = append(held, heldPod{p, "it is being removed"})
		case moving:
			held = append(held, heldPod{p, "it is moving: " + g.String()})
		case busy(p.UID):
			held = append(held, heldPod{p, "it is being started, moved or removed"})
		default:
			free = append(free, p)
		}
	}
	return free, held
}

// toReturn are the pods that drains moved away from a node, and that nobody has moved since.
func toReturn(v state.View, node string) (free []state.Pod, held []heldPod) {
	for _, p := range v.Pods() {
		g, moving := v.Migration(p.Migration)
		switch {
		case p.DrainedFrom != node || p.Node == node || p.Deleting:
		case moving:
			held = append(held, heldPod{p, "it is moving: " + g.String()})
		default:
			free = append(free, p)
		}
	}
	return free, held
}

func (b *backend) choose(p state.Pod, r state.Request) (string, *api.Error) {
	r.Pod, r.Ready = &p, b.ready()
	d := state.Schedule(b.quorum.View(), r)
	if d.Node == "" {
		return "", nowhere("", r, d)
	}
	return d.Node, nil
}

// moveAway moves a pod of this node.
func (b *backend) moveAway(ctx context.Context, p state.Pod, target string, progress api.Progress) (api.Report, bool, error) {
	x, err := b.moves.begin(p, target)
	if err != nil {
		return api.Report{}, false, err
	}
	report, err := b.moves.follow(ctx, x, progress)
	return report, ctx.Err() == nil && targetsFault(x.err), err
}

// lookAway asks both ends whether a pod of this node can move there.
func (b *backend) lookAway(ctx context.Context, p state.Pod, target string) (bool, error) {
	ahead, err := b.moves.lookAhead(ctx, p, target)
	if err != nil {
		return api.AsError(err).Code == api.Unavailable, err
	}
	if len(ahead.Refusals) == 0 {
		return false, nil
	}
	e := api.Errorf(api.FailedPrecondition, fmt.Sprintf("moving %s to %s", p.Name, target), "it can't move")
	e.Refusals = ahead.Refusals
	return !slices.ContainsFunc(ahead.Refusals, func(r api.Refusal) bool { return r.Node != target }), e
}

// targetsFault says that a move failed before the pod was touched, for a reason that another target may not have.
func targetsFault(err error) bool {
	if refused, ok := errors.AsType[*migrate.RefusedError](err); ok {
		return refused.ByTarget()
	}
	if failed, begun := errors.AsType[*migrate.Error](err); begun {
		return failed.Step == "reserve" // the mesh says no: it was cordoned or filled since
	}
	return errors.Is(err, transport.ErrUnreachable) || errors.Is(err, transport.ErrLost)
}

// undoPatience is how long the node of a pod may take to undo a move.
const undoPatience = 2 * time.Minute

// moveBack lets the node that has a pod move it.
func (b *backend) moveBack(ctx context.Context, p state.Pod, target string, progress api.Progress) (api.Report, bool, error) {
	owner := api.NewPeerClient(b.peers, b.config.Node, p.Node)
	undone := make(chan struct{})
	// Its end would only end the request; how the move ends is worth waiting for.
	unhook := context.AfterFunc(ctx, func() {
		defer close(undone)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
		defer cancel()
		_, _ = owner.CancelMigration(ctx, p.Name) // too late, or not begun: the move's own answer says how it ended
	})
	report, err := owner.Migrate(context.WithoutCancel(ctx), p.Name, target, progress)
	if !unhook() {
		<-undone
	}
	return report, false, err
}
