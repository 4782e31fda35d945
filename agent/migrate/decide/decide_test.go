package decide

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

var move = Move{ID: "m-1", Pod: "redis", UID: "u-1", Epoch: 2, Source: "ams", Target: "fra"}

func TestSourceGoesThroughThePipeline(t *testing.T) {
	s := NewSource(move)
	require.Equal(t, []Action{Do{Preflight}}, s.Handle(Begin{}))
	require.Equal(t, []Action{Record{Reserve}}, s.Handle(Done{Preflight}))
	require.Equal(t, []Action{Propose{1, move.reserve()}}, s.Handle(Recorded{Reserve}))
	require.Equal(t, []Action{Do{Reserve}}, s.Handle(Answered{1, state.Result{OK: true}}))
}
