package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// Recover settles the departures that an earlier agent of this node left unfinished, side by side: a pod whose move
// can be aborted goes on here, one that the target has is retired. It returns when all are settled, which may be
// never as long as a target is lost.
func Recover(life context.Context, c Config, s Source) error {
	journals, err := openJournals(c.Journals, AsSource)
	failures := make([]error, len(journals))
	var all sync.WaitGroup
	for i, j := range journals {
		all.Go(func() {
			outcome, err := settle(life, c, s, j)
			c.Log.Info("settled a move that an earlier agent had begun", "move", j.Plan.ID, "pod", j.Plan.Pod.Name, "outcome", outcome, "err", err)
			failures[i] = err
		})
	}
	all.Wait()
	return errors.Join(append(failures, err)...)
}

// settle ends the departure of an earlier agent.
func settle(life context.Context, c Config, s Source, j *Journal) (decide.Outcome, error) {
	d := newDriver(c, j.Plan, AsSource, decide.RecoverSource(j.Plan.move(), j.steps()), settling{s, j.Plan})
	d.journal = j
	end, err := d.run(life, life)
	if err != nil {
		return "", err
	}
	return end.Outcome, nil
}

// settling does what is left to do of a departure of an earlier agent.
type settling struct {
	source Source
	plan   Plan
}

func (s settling) do(ctx context.Context, step decide.Step) error {
	switch step {
	case decide.Thaw:
		return s.source.Thaw(ctx, s.plan)
	case decide.Revive:
		return s.source.Revive(ctx, s.plan)
	case decide.Retire:
		return s.source.Retire(ctx, s.plan)
	}
	return fmt.Errorf("a departure of an earlier agent does not go on with %s", step)
}

func (settling) decided(decide.Action)                    {}
func (settling) handled(decide.Input)                     {}
func (settling) recorded(context.Context, decide.Step)    {}
func (settling) proposing(context.Context, state.Command) {}
func (settling) fired(t decide.Timer) decide.Input        { return decide.Fired{Timer: t} }

// Recover takes up the arrivals that an earlier agent of this node left unfinished. It returns when each is
// known, so that Held is right; they are settled in the background. The error names journals that can't be read:
// their moves stay as they are.
func (a *Arrivals) Recover() error {
	journals, err := openJournals(a.Journals, AsTarget)
	for _, j := range journals {
		x := a.newArrival(j.Plan, decide.RecoverTarget(j.Plan.move(), j.steps()))
		x.driver.journal = j
		a.mu.Lock()
		a.open[j.Plan.ID] = x
		a.mu.Unlock()
		a.jobs.Go(x.run)
	}
	return err
}
