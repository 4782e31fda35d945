package agent

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

func TestAMeshTakesWhatANodeTellsItFirst(t *testing.T) {
	m := state.New()
	for _, node := range []string{"ams", "fra"} {
		for _, c := range introduction(netip.MustParsePrefix("10.88.0.0/16"), state.Node{Name: node, Site: "eu"}) {
			r := m.Apply(c)
			require.True(t, r.OK, r.Reason)
		}
	}
	require.Len(t, m.View().Nodes(), 2)
	require.NotEmpty(t, m.View().MeshID())
}
