package agent

import (
	"context"
	"slices"
	"strings"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
)

// Migrate implements [api.Migrations].
func (b *backend) Migrate(ctx context.Context, name, to string, progress api.Progress) (api.Report, error) {
	p, err := b.pod(ctx, name)
	if err != nil {
		return api.Report{}, err
	}
	target, err := target(b.quorum.View(), p, to, b.ready())
	if err != nil {
		return api.Report{}, unchanged(err)
	}
	x, err := b.moves.begin(p, target)
	if err != nil {
		return api.Report{}, err
	}
	return b.moves.follow(ctx, x, progress)
}

// unchanged adds to the refusal of a move that it has changed nothing.
func unchanged(err error) error {
	e := api.AsError(err)
	if e.Cure == "" {
		return e.WithCure("nothing was changed")
	}
	return e.WithCure("nothing was changed; " + e.Cure)
}

// Preflight implements [api.Migrations].
func (b *backend) Preflight(ctx context.Context, name, to string) (api.Preflight, error) {
	p, err := b.pod(ctx, name)
	if err != nil {
		return api.Preflight{}, err
	}
	v := b.quorum.View()
	chosen, err := target(v, p, to, b.ready())
	if err == nil {
		return b.moves.lookAhead(ctx, p, chosen)
	}
	// A node that was named is asked all the same, since the scheduler doesn't know the half of it.
	if _, named := v.Node(to); !named || to == p.Node {
		return api.Preflight{}, err
	}
	ahead, aheadErr := b.moves.lookAhead(ctx, p, to)
	if aheadErr != nil {
		return api.Preflight{}, err
	}
	return withUnfit(ahead, api.AsError(err)), nil
}

// withUnfit adds why the scheduler wouldn't choose the node, unless the node itself has said why not.
func withUnfit(ahead api.Preflight, unfit *api.Error) api.Preflight {
	if slices.ContainsFunc(ahead.Refusals, func(r api.Refusal) bool { return r.Node == ahead.To }) {
		return ahead
	}
	why := unfit.Why
	for _, v := range unfit.Violations {
		if v.Field == ahead.To {
			why = v.Why
		}
	}
	ahead.Refusals = append(ahead.Refusals, api.Refusal{Node: ahead.To, Reason: why, Cure: unfit.Cure})
	return ahead
}

// CancelMigration implements [api.Migrations].
func (b *backend) CancelMigration(ctx context.Context, name string) (api.Migration, error) {
	what := "cancelling " + name
	x, ok := b.moves.find(name)
	if !ok {
		return api.Migration{}, api.Errorf(api.NotFound, what, "no move of that id or pod is under way at %s", b.config.Node)
	}
	x.cancel()
	select {
	case <-x.done:
	case <-ctx.Done():
		return api.Migration{}, ctx.Err()
	}
	if x.err == nil {
		return api.Migration{}, api.Errorf(api.FailedPrecondition, what, "it was past its point of no return: the pod runs on %s", x.plan.Target)
	}
	m, err := x.outcome(ctx, b.quorum)
	if err != nil {
		return api.Migration{}, err
	}
	return b.migration(m), nil
}

// ListMigrations implements [api.Migrations].
func (b *backend) ListMigrations(ctx context.Context) ([]api.Migration, error) {
	v, err := b.view(ctx, "listing migrations")
	if err != nil {
		return nil, err
	}
	var out []api.Migration
	for _, m := range v.Migrations() {
		out = append(out, b.migration(m))
	}
	return out, nil
}

// GetMigration implements [api.Migrations].
func (b *backend) GetMigration(ctx context.Context, id string) (api.Migration, error) {
	what := "looking for migration " + id
	v, err := b.view(ctx, what)
	if err != nil {
		return api.Migration{}, err
	}
	m, ok := v.Migration(id)
	if !ok {
		return api.Migration{}, api.Errorf(api.NotFound, what, "the mesh has none of that id")
	}
	return b.migration(m), nil
}

func (b *backend) migration(m state.Migration) api.Migration {
	out := api.Migration{
		ID: m.ID, Pod: m.Pod, From: m.Source, To: m.Target, Epoch: m.Epoch, Phase: api.MigrationPhase(strings.ToLower(string(m.Phase))), Reason: m.Reason,
		Report: b.moves.reportOf(m.ID),
	}
	if x, ok := b.moves.find(m.ID); ok {
		out.Step = x.step()
	}
	return out
}
