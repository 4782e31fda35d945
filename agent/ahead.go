package agent

import (
	"context"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
)

// lookAhead asks both ends whether a pod of this node can move to the target. Nothing is reserved or changed.
func (m *moves) lookAhead(ctx context.Context, p state.Pod, target string) (api.Preflight, error) {
	plan := m.plan(p, target)
	ahead, err := migrate.LookAhead(ctx, plan, source{m.pods.host}, peer{node: target, transport: m.transport})
	if err != nil {
		return api.Preflight{}, moveError(plan, err)
	}
	f := ahead.Facts
	out := api.Preflight{
		Pod: p.Name, From: plan.Source, To: plan.Target, Refusals: refusalsOf(ahead.Refusals()), Warnings: ahead.Offer.Warnings,
		Processes: f.Processes, Descriptors: f.Descriptors, MemoryBytes: f.MemoryBytes, FilesBytes: f.UpperBytes, Files: f.UpperFiles,
		MissingBytes: ahead.MissingBytes(), MS: api.Milliseconds(ahead.Took),
	}
	for _, d := range ahead.Offer.Missing {
		out.MissingLayers = append(out.MissingLayers, string(d))
	}
	return out, nil
}

// plan is the move of a pod of this node.
func (m *moves) plan(p state.Pod, target string) migrate.Plan {
	return migrate.Plan{ID: "m-" + newID(), Pod: p, Source: m.config.Node, Target: target, Mode: migrate.StopCopy}
}

func refusalsOf(refusals []migrate.Refusal) []api.Refusal {
	var all []api.Refusal
	for _, r := range refusals {
		all = append(all, api.Refusal(r))
	}
	return all
}
