package migrate

import (
	"context"
	"encoding/json"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// TestPeerDecidesNothing lets an authenticated peer lie about a move that is reserved.
func TestPeerDecidesNothing(t *testing.T) {
	lies := map[string]func(p *Plan){
		"program": func(p *Plan) { p.Pod.Manifest = json.RawMessage(`{"evil":true}`) },
		"image": func(p *Plan) {
			p.Pod.Containers = []state.Container{{Name: "main", Layers: []state.Digest{"../../etc"}}}
		},
		"address": func(p *Plan) { p.Pod.Addr = netip.MustParseAddr("10.88.0.9") },
		"name":    func(p *Plan) { p.Pod.Name = "another" },
	}
	for what, lie := range lies {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				fra := w.start("fra")
				w.start("ams")
				defer w.drain()
				p := w.reserve(t)
				lied := p
				lie(&lied)
				require.NoError(t, fra.arrivals.Prepare(t.Context(), "ams", lied))
				w.mu.Lock()
				defer w.mu.Unlock()
				got := w.hosts["fra"].plan
				got.Pod.Migration = ""
				require.Equal(t, p, got, "what the mesh has committed counts")
			})
		})
	}
}

func TestStrangersAreRefused(t *testing.T) {
	lies := map[string]func(p *Plan, peer *string){
		"another peer":             func(_ *Plan, peer *string) { *peer = "nyc" },
		"a source it is not":       func(p *Plan, _ *string) { p.Source = "nyc" },
		"another target":           func(p *Plan, _ *string) { p.Target = "nyc" },
		"another pod":              func(p *Plan, _ *string) { p.Pod.UID = "../u2" },
		"another epoch":            func(p *Plan, _ *string) { p.Pod.Epoch = 7 },
		"a mode of another drover": func(p *Plan, _ *string) { p.Mode = "teleport" },
		"no such move":             func(p *Plan, _ *string) { p.ID = "../m9" },
	}
	for what, lie := range lies {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				fra := w.start("fra")
				w.start("ams")
				defer w.drain()
				p, peer := w.reserve(t), "ams"
				lie(&p, &peer)
				require.Error(t, fra.arrivals.Prepare(t.Context(), peer, p))
				if what != "no such move" {
					_, err := fra.arrivals.Preflight(t.Context(), peer, p, Facts{})
					require.Error(t, err)
					require.NotContains(t, w.calls, "fra check")
				}
				require.NotContains(t, w.calls, "fra prepare")
				require.Error(t, fra.arrivals.Image(peer, p.ID, "core-1.img", nil))
				require.Error(t, fra.arrivals.TakeOver(peer, p.ID, Manifest{}, func(Milestone) {}))
			})
		})
	}
}

// reserve commits the reservation of a move from ams to fra.
func (w *world) reserve(t *testing.T) Plan {
	p := w.plan()
	a := w.hosts["ams"].agent
	r, err := a.Propose(context.Background(), state.Reserve{Migration: p.ID, Pod: p.Pod.Name, Source: p.Source, Target: p.Target})
	require.NoError(t, err)
	require.True(t, r.OK, r.Reason)
	return p
}
