package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/state"
)

const (
	// provideAfter is how soon after a change this node looks whether it lacks layers, and tries again to get them.
	provideAfter = 10 * time.Second
	// provideEvery is how often it looks all the same: what isn't asked for is collected after a day.
	provideEvery = time.Hour
)

// keepProviding fetches ahead the layers of pods that would begin here if their node were lost, until ctx ends: that node may be
// the only one that has them.
func (p *pods) keepProviding(ctx context.Context, ready func() readiness) {
	var seen uint64
	var provided time.Time
	said := ""
	for wait(ctx, provideAfter) {
		v := p.ledger.View()
		if said == "" && v.Index() == seen && time.Since(provided) < provideEvery {
			continue
		}
		seen, provided = v.Index(), time.Now()
		err := p.provide(ctx, v, ready())
		if err == nil {
			said = ""
		} else if now := err.Error(); now != said && ctx.Err() == nil {
			said = now
			p.log.Warn("fetching layers of pods that may have to begin here", "err", err)
		}
	}
}

func (p *pods) provide(ctx context.Context, v state.View, ready readiness) error {
	var errs []error
	for _, s := range v.Pods() {
		if !s.NeedsLease() || s.Node == p.node || s.Migration != "" {
			continue
		}
		if d := state.Schedule(v, state.Request{Pod: &s, Fresh: true, Ready: ready}); d.Node != p.node {
			continue
		}
		if err := p.images.copyLayers(ctx, s.Layers()); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}
