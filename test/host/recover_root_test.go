//go:build root

package host

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

// Two of three servers are lost, with something that they had agreed on without the third. The mesh is recovered from that one,
// and a pod and its client notice nothing. Then the lost ones come back after all, with all that they had: they join anew.
func TestMeshIsRecoveredFromTheServerThatIsLeft(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "nyc", 1<<20)
	lost := []string{"ams", "fra"}

	m.cutOff(t, "nyc")
	eventually(t, "the others agree without it", func() error {
		_, err := m.clients["ams"].LabelNode(t.Context(), "fra", api.LabelChange{Set: map[string]string{"unheard": "yes"}})
		return err
	})
	for _, site := range lost {
		require.NoError(t, m.StopAgent(t.Context(), site))
	}
	_, stderr, exit := m.drover(t, "nyc", "mesh", "recover")
	require.Equal(t, 6, exit, stderr)
	require.Contains(t, stderr, "the agent of this host runs")
	require.NoError(t, m.StopAgent(t.Context(), "nyc"))
	m.healLinks(t)

	stdout, stderr, exit := m.drover(t, "nyc", "mesh", "recover")
	t.Logf("%s%s", stdout, stderr)
	require.Equal(t, 6, exit, stderr)
	require.Contains(t, stdout, "servers:       ams, fra, nyc")
	require.Contains(t, stdout, "pods:          redis")
	stdout, stderr, exit = m.drover(t, "nyc", "mesh", "recover", "--yes")
	t.Logf("%s%s", stdout, stderr)
	require.Zero(t, exit, stderr)
	require.NoError(t, m.StartAgent(t.Context(), "nyc"))
	eventually(t, "nyc alone decides", func() error {
		_, err := m.clients["nyc"].LabelNode(t.Context(), "nyc", api.LabelChange{Set: map[string]string{"recovered": "yes"}, Overwrite: true})
		return err
	})
	m.requireCounting(t, counter)

	for _, site := range lost {
		require.NoError(t, m.KeepAgent(t.Context(), site, true))
	}
	for _, site := range lost {
		m.awaitLog(t, site, "the mesh was recovered without this server")
	}
	m.awaitServers(t, "ams", "fra", "nyc")
	m.awaitWhole(t)
	for _, site := range lost {
		nodes, err := m.clients[site].ListNodes(t.Context())
		require.NoError(t, err)
		for _, n := range nodes {
			require.NotContains(t, n.Labels, "unheard", "%s still has what was lost", site)
			require.Equal(t, n.Name == "nyc", n.Labels["recovered"] == "yes")
		}
	}
	_, err := m.migrate(t.Context(), t, "fra", "redis", "ams")
	require.NoError(t, err, "a later move")
	m.requireUnharmed(t, counter)
	_, err = m.clients["ams"].LabelNode(t.Context(), "nyc", api.LabelChange{Remove: []string{"recovered"}})
	require.NoError(t, err)
}
