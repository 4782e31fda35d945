package migrate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/migrate/decide"
)

// TestPipelineIsTheOneThatIsDecided compares what the source does with what decide.Source goes through.
func TestPipelineIsTheOneThatIsDecided(t *testing.T) {
	rows := pipeline()
	require.Len(t, rows, len(decide.Pipeline()))
	for i, stage := range decide.Pipeline() {
		require.Equal(t, stage.Step, rows[i].Step)
		require.Equal(t, stage.Until != "", rows[i].do == nil, "who does %s", stage.Step)
	}
}
