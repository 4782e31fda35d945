package lab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/configs"
)

func TestAgentsConfigurationsAreValid(t *testing.T) {
	for sites, voters := range map[int]int{1: 1, 2: 2, 3: 3, 16: 3} {
		o := Options{Sites: sites, Drills: sites == 3}
		require.NoError(t, o.complete())
		l := &Lab{plan: o.plan()}
		require.Len(t, l.Sites(), sites)
		require.Len(t, l.Hosts(), sites+1)
		for i, site := range l.Sites() {
			c, err := configs.Parse("agent.yaml", []byte(l.agentYAML(i)))
			require.NoError(t, err)
			require.Equal(t, site.Name, c.Node)
			require.Equal(t, site.Address, c.Address.Addr())
			require.Len(t, c.Servers, voters)
			require.Len(t, c.Join, sites-1)
			require.Equal(t, "/pods", c.CgroupParent, "of the site's own root")
			require.Equal(t, o.Drills, c.Drill != "")
		}
	}
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "A", "a/b", "..", "-a", "a-", "a b", "abcdefghijklmnopqrstuvwxy"} {
		require.ErrorContains(t, checkName(bad), "want 1 to 24", bad)
	}
	for _, good := range []string{"a", "lab", "lab-2", "abcdefghijklmnopqrstuvwx"} {
		require.NoError(t, checkName(good))
	}
	// The longest name's sockets must fit sockaddr_un (unix(7): 108 bytes with the final zero).
	require.Less(t, len((&Lab{dir: stateRoot + "/abcdefghijklmnopqrstuvwx"}).sitePath(ClientSite, "init.sock")), 108)
}
