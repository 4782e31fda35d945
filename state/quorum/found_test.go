package quorum

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAMeshBeginsOnceAndWithAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := emptyMesh(t, time.Millisecond, quick(), servers...)
		m.open("ams")
		m.open("fra")
		for _, node := range []string{"ams", "fra"} {
			require.Eventually(t, func() bool {
				w := m.nodes[node].Status().Waiting
				return w == "a new mesh begins when all its servers are there (ams, fra, nyc), and some are not yet: nyc"
			}, 20*time.Second, 5*time.Millisecond)
		}
		m.open("nyc")
		m.found(m.leader(servers...))
		m.votes(servers, servers...)

		// One that has other servers in its list begins nothing.
		m.first = []string{"fra", "lon", "osl"}
		m.roles["lon"] = true
		m.open("lon")
		require.True(t, m.propose("lon", register("lon", true)).OK)
		m.votes(append([]string{"lon"}, servers...), "lon")
	})
}

func TestServersThatDisagreeBeginNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := emptyMesh(t, time.Millisecond, quick(), "ams", "fra")
		m.open("ams")
		m.first = []string{"ams", "fra", "nyc"}
		m.open("fra")
		require.Eventually(t, func() bool {
			return m.nodes["ams"].Status().Waiting == "a new mesh begins when all its servers are there (ams, fra), and some are not yet: fra (it would begin with ams, fra, nyc)"
		}, 20*time.Second, 5*time.Millisecond)
		m.roles["nyc"] = false
		m.open("nyc")
		require.Eventually(t, func() bool {
			return m.nodes["fra"].Status().Waiting == "a new mesh begins when all its servers are there (ams, fra, nyc), and some are not yet: ams (it would begin with ams, fra), nyc (it is no server)"
		}, 20*time.Second, 5*time.Millisecond)
	})
}

func TestNoMeshBeginsWhereOneIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), append([]string{plain}, servers...)...)
		m.found(m.leader(servers...))
		require.NoError(t, m.nodes[plain].Sync(m.ctx()))
		for _, s := range servers {
			m.kill(s)
			m.lose(s)
		}
		for _, s := range servers {
			cfg := m.config(s)
			cfg.Peers = func() []string { return []string{plain} }
			m.openAs(s, cfg)
		}
		m.net.set("ams", "fra", true)
		for _, s := range servers {
			require.Eventually(t, func() bool { return m.nodes[s].Status().Waiting != "" }, 20*time.Second, 5*time.Millisecond)
			require.Nil(t, m.nodes[s].seat.Load())
		}
	})
}

func TestTheOnlyServerIsAPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := emptyMesh(t, time.Millisecond, quick(), "a")
		m.open("a")
		for _, node := range []string{"b", plain} {
			m.roles[node] = node == "b"
			cfg := m.config(node)
			cfg.Bootstrap = nil
			cfg.Peers = func() []string { return []string{"a"} }
			m.openAs(node, cfg)
			require.True(t, m.propose(node, register(node, m.roles[node])).OK)
		}
		m.votes([]string{"a", "b"}, "a", "b", plain)
	})
}

func TestPeersKnowTheServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), append([]string{plain}, servers...)...)
		m.found(m.leader(servers...))
		require.NoError(t, m.nodes[plain].Sync(m.ctx()))
		for _, node := range []string{"new", "srv"} {
			m.roles[node] = node == "srv"
			cfg := m.config(node)
			cfg.Bootstrap = nil
			cfg.Peers = func() []string { return []string{plain, "dead"} }
			m.openAs(node, cfg)
			require.True(t, m.propose(node, register(node, m.roles[node])).OK)
		}
		m.votes(append([]string{"srv"}, servers...), "srv", "new", plain)
	})
}

func TestAServerThatDiedWhileItBeganAMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := emptyMesh(t, 0, quick(), servers...)
		m.config("ams")
		d, err := openDisk(m.dirs["ams"], newLogger(testLog("ams")))
		require.NoError(t, err)
		require.NoError(t, d.SetUint64([]byte("CurrentTerm"), 1))
		require.NoError(t, d.Close())
		for _, s := range servers {
			m.open(s)
		}
		m.found(m.leader(servers...))
	})
}
