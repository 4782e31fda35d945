package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
)

// keptReports is how many reports of finished moves an agent remembers.
const keptReports = 100

// moves drives the moves of pods away from this node. A request that ends cancels its move, which still is settled then.
type moves struct {
	life      context.Context //nolint:containedctx // the agent's: moves outlive requests
	config    migrate.Config
	pods      *pods
	transport *transport.Transport
	jobs      sync.WaitGroup

	mu      sync.Mutex
	running map[string]*move // by id
	reports []api.Report
}

// move is a departure under way.
type move struct {
	plan   migrate.Plan
	cancel context.CancelFunc
	done   chan struct{} // closed when report and err are set
	report migrate.Report
	err    error

	mu     sync.Mutex
	events []migrate.Progress
	news   chan struct{} // closed and made anew with each event
}

func (m *move) tell(p migrate.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, p)
	close(m.news)
	m.news = make(chan struct{})
}

// since returns the events after the first n, and what closes with the next.
func (m *move) since(n int) ([]migrate.Progress, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events[n:]), m.news
}

// begin starts the move of a pod of this node.
func (m *moves) begin(p state.Pod, target string) (*move, error) {
	what := fmt.Sprintf("moving %s to %s", p.Name, target)
	if !m.pods.take(p.UID) {
		return nil, api.Errorf(api.FailedPrecondition, what, "it is being started, moved or removed").WithCure("try again when that has ended")
	}
	plan := m.plan(p, target)
	ctx, cancel := context.WithCancel(m.life)
	x := &move{plan: plan, cancel: cancel, done: make(chan struct{}), news: make(chan struct{})}
	m.mu.Lock()
	m.running[plan.ID] = x
	m.mu.Unlock()
	m.pods.probes.suspend(p.UID)
	d := migrate.NewDeparture(m.config, plan, source{m.pods.host}, peer{node: target, transport: m.transport}, x.tell)
	m.jobs.Go(func() {
		defer cancel()
		x.report, x.err = d.Run(m.life, ctx)
		m.end(x)
		close(x.done)
	})
	return x, nil
}

func (m *moves) end(x *move) {
	m.pods.give(x.plan.Pod.UID)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.running, x.plan.ID)
	if x.err == nil {
		m.reports = append(m.reports, reportOf(x.report))
		m.reports = m.reports[max(0, len(m.reports)-keptReports):]
	}
}

// follow tells progress what happens until the move is over. When ctx ends it cancels the move, and still waits.
func (m *moves) follow(ctx context.Context, x *move, progress api.Progress) (api.Report, error) {
	p := x.plan
	progress.Started(api.Move{ID: p.ID, Pod: p.Pod.Name, From: p.Source, To: p.Target, Mode: string(p.Mode)})
	defer context.AfterFunc(ctx, x.cancel)()
	told := 0
	for over := false; ; {
		events, news := x.since(told)
		for _, e := range events {
			progress.Event(eventOf(e))
		}
		told += len(events)
		if over {
			break
		}
		select {
		case <-news:
		case <-x.done:
			over = true
		}
	}
	if x.err != nil {
		return api.Report{}, moveError(x.plan, x.err)
	}
	return reportOf(x.report), nil
}

// find returns the running move with that id, or of the pod of that name.
func (m *moves) find(name string) (*move, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.running {
		if x.plan.ID == name || x.plan.Pod.Name == name {
			return x, true
		}
	}
	return nil, false
}

func (m *moves) reportOf(id string) *api.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.reports {
		if m.reports[i].ID == id {
			return &m.reports[i]
		}
	}
	return nil
}

// outcome is the record of a move that was undone. Its end was agreed, and this node hears of it a moment later.
func (m *move) outcome(ctx context.Context, l ledger) (state.Migration, error) {
	if _, begun := errors.AsType[*migrate.Error](m.err); !begun {
		p := m.plan
		return state.Migration{
			ID: p.ID, Pod: p.Pod.Name, Source: p.Source, Target: p.Target, Epoch: p.Epoch(), Phase: state.Aborted,
			Reason: "cancelled before anything had changed",
		}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := l.Watch(ctx)
	for {
		if r, ok := l.View().Migration(m.plan.ID); ok && !r.Phase.Open() {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return state.Migration{}, ctx.Err()
		case <-changes:
		}
	}
}

func (m *move) step() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.events) == 0 {
		return ""
	}
	return m.events[len(m.events)-1].Step
}

func reportOf(r migrate.Report) api.Report {
	out := api.Report{
		ID: r.Plan.ID, Pod: r.Plan.Pod.Name, From: r.Plan.Source, To: r.Plan.Target, Mode: string(r.Plan.Mode),
		DowntimeMS: api.Milliseconds(r.Downtime), TotalMS: api.Milliseconds(r.Total), BytesSent: r.BytesSent, FrozenBytes: r.FrozenBytes,
	}
	for _, s := range r.Steps {
		out.Steps = append(out.Steps, api.Step{Name: s.Name, MS: api.Milliseconds(s.Took)})
	}
	return out
}

func eventOf(p migrate.Progress) api.Event {
	states := map[migrate.Status]api.StepState{
		migrate.Started: api.StepStarted, migrate.Going: api.StepProgress, migrate.Done: api.StepDone,
		migrate.Broken: api.StepFailed, migrate.Undone: api.StepUndone,
	}
	return api.Event{Step: p.Step, Node: p.Node, State: states[p.Status], MS: api.Milliseconds(p.Elapsed), BytesDone: p.Bytes, Note: p.Note}
}

// moveError says what became of a move that failed.
func moveError(p migrate.Plan, err error) error {
	what := fmt.Sprintf("moving %s to %s", p.Pod.Name, p.Target)
	var refused *migrate.RefusedError
	var failed *migrate.Error
	switch {
	case errors.As(err, &failed):
		why := fmt.Sprintf("step %s failed on %s: %v", failed.Step, failed.Node, failed.Cause)
		if errors.Is(failed.Cause, migrate.ErrCancelled) {
			why = "it was cancelled at step " + failed.Step
		}
		e := api.Errorf(api.Aborted, what, "%s", why).WithCure(failed.Settled)
		if errors.As(failed.Cause, &refused) { // it has come up since it was looked for
			e.Why, e.Refusals = fmt.Sprintf("at step %s %s", failed.Step, refused.Summary()), refusalsOf(refused.Refusals)
		}
		return e
	case errors.As(err, &refused):
		e := api.Errorf(api.FailedPrecondition, what, "%s", refused.Summary()).WithCure("nothing was changed")
		e.Refusals = refusalsOf(refused.Refusals)
		return e
	case errors.Is(err, migrate.ErrCancelled), errors.Is(err, context.Canceled):
		return api.Errorf(api.Canceled, what, "it was cancelled before anything had changed")
	case errors.Is(err, transport.ErrUnreachable), errors.Is(err, transport.ErrLost):
		return api.Errorf(api.Unavailable, what, "%v", err).WithCure("nothing was changed; see drover node ls")
	}
	return api.Errorf(api.FailedPrecondition, what, "%v", err).WithCure("nothing was changed")
}
