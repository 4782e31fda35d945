package agent

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
)

// slowLedger is a ledger that hears of the next change when somebody watches it.
type slowLedger struct {
	ledger
	machine *state.Machine
	next    []state.Command
}

func (l *slowLedger) View() state.View { return l.machine.View() }

func (l *slowLedger) Watch(context.Context) <-chan struct{} {
	changes := make(chan struct{}, len(l.next))
	for _, c := range l.next {
		l.machine.Apply(c)
		changes <- struct{}{}
	}
	return changes
}

func TestOutcomeIsTheEndOfAMoveThatIsHeardOfLater(t *testing.T) {
	l := &slowLedger{machine: state.New(), next: []state.Command{state.Abort{Migration: "m-1", Reason: "ended by ams"}}}
	for _, c := range []state.Command{
		state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")},
		state.RegisterNode{Node: state.Node{Name: "ams", Site: "ams", Addr: netip.MustParseAddrPort("10.77.1.1:7400")}},
		state.RegisterNode{Node: state.Node{Name: "fra", Site: "fra", Addr: netip.MustParseAddrPort("10.77.2.1:7400")}},
		state.CreatePod{Name: "redis", UID: "u1", Manifest: []byte(`{}`), Containers: []state.Container{{Name: "main", Layers: []state.Digest{state.Digest("sha256:" + strings.Repeat("a", 64))}}}, Node: "ams"},
		state.Reserve{Migration: "m-1", Pod: "redis", Source: "ams", Target: "fra"},
	} {
		r := l.machine.Apply(c)
		require.True(t, r.OK, "%T: %s", c, r.Reason)
	}
	m := &move{plan: migrate.Plan{ID: "m-1"}, err: &migrate.Error{Cause: migrate.ErrCancelled}}
	r, err := m.outcome(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, state.Aborted, r.Phase)
}

func TestOutcomeOfAMoveThatTheMeshNeverHeardOf(t *testing.T) {
	m := &move{plan: migrate.Plan{ID: "m-1", Source: "ams", Target: "fra"}, err: migrate.ErrCancelled}
	r, err := m.outcome(t.Context(), &slowLedger{machine: state.New()})
	require.NoError(t, err)
	require.Equal(t, state.Aborted, r.Phase)
	require.Equal(t, "fra", r.Target)
}
