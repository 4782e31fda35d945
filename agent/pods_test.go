package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
)

// cutOff is a ledger without a majority.
type cutOff struct{ currentLedger }

func (cutOff) Sync(context.Context) error { return errors.New("no majority") }

func (cutOff) Propose(ctx context.Context, _ state.Command) (state.Result, error) {
	<-ctx.Done()
	return state.Result{}, ctx.Err()
}

func TestAPersonIsToldThatTheMeshDoesNotAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pods{ledger: cutOff{}}
		_, err := p.ask(t.Context(), "running pod redis", state.MarkDeleting{Name: "redis"})
		e := api.AsError(err)
		require.Equal(t, api.Unavailable, e.Code)
		require.Equal(t, "running pod redis: the mesh has not agreed within 15s", e.Error())
		require.Contains(t, e.Cure, "drover status")
	})
}
