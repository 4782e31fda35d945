//go:build root

package host

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
)

// bare starts a lab of hosts on which nobody has done anything yet.
func bare(t *testing.T, sites int) *mesh {
	t.Helper()
	l, err := lab.Up(t.Context(), lab.Options{Name: joinName, Sites: sites, Bare: true, Executable: shared.binary, Conditions: normal}, func(string) {})
	require.NoError(t, err)
	m := &mesh{Lab: l, binary: shared.binary, images: shared.images, clients: map[string]*api.Client{}}
	t.Cleanup(func() {
		m.close()
		require.NoError(t, l.Down(context.Background()))
	})
	return m
}

// do runs drover at a site and requires that it succeeds.
func (m *mesh) do(t *testing.T, site string, args ...string) string {
	t.Helper()
	stdout, stderr, exit := m.drover(t, site, args...)
	require.Zero(t, exit, "drover %v at %s: %s%s", args, site, stdout, stderr)
	return stdout
}

// refused runs drover at a site and requires that it is refused as things stand, and why.
func (m *mesh) refused(t *testing.T, why, site string, args ...string) {
	t.Helper()
	stdout, stderr, exit := m.drover(t, site, args...)
	require.Equal(t, 6, exit, "drover %v at %s: %s%s", args, site, stdout, stderr)
	require.Contains(t, stderr, why)
}

// startNode starts the agent of a site that has become a node, and waits until all see each other.
func (m *mesh) startNode(t *testing.T, site string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, m.StartAgent(ctx, site))
	socket, err := m.Socket(site)
	require.NoError(t, err)
	m.clients[site] = api.NewClient(socket)
	m.awaitWhole(t)
}

// forget makes the test expect a site in the mesh no more.
func (m *mesh) forget(site string) {
	m.clients[site].Close()
	delete(m.clients, site)
}

// invite makes a token at a site and returns what joins by it.
func (m *mesh) invite(t *testing.T, at string, args ...string) (command []string) {
	t.Helper()
	var made struct {
		Command string `json:"command"`
	}
	require.NoError(t, json.Unmarshal([]byte(m.do(t, at, append([]string{"mesh", "token", "create", "-o", "json"}, args...)...)), &made))
	words := strings.Fields(made.Command)
	require.Equal(t, "drover", words[0])
	return words[1:]
}

// settle has a site join, by a token made at another, and starts it.
func (m *mesh) settle(t *testing.T, site, by string, args ...string) (joined struct {
	Node       string `json:"node"`
	Server     bool   `json:"server"`
	AdmittedBy string `json:"admitted_by"`
}) {
	t.Helper()
	begun := time.Now()
	out := m.do(t, site, append(m.invite(t, by, args...), "-o", "json")...)
	require.NoError(t, json.Unmarshal([]byte(out), &joined))
	require.Equal(t, site, joined.Node)
	m.startNode(t, site)
	t.Logf("%s has joined by %s in %.1f s", site, by, time.Since(begun).Seconds())
	return joined
}

// awaitServers waits until exactly these nodes vote.
func (m *mesh) awaitServers(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, fmt.Sprintf("%v vote", want), func() error {
		for site, c := range m.clients {
			s, err := c.GetStatus(t.Context())
			if err != nil {
				return err
			}
			if got := slices.Sorted(slices.Values(s.Servers)); !slices.Equal(got, want) || s.Leader == "" {
				return fmt.Errorf("%s sees the servers %v and the leader %q", site, got, s.Leader)
			}
		}
		return nil
	})
}

// awaitLog waits until the log of a site's agent has all of these on one line.
func (m *mesh) awaitLog(t *testing.T, site string, words ...string) {
	t.Helper()
	eventually(t, "the log of "+site, func() error {
		text, err := os.ReadFile(m.AgentLog(site))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return nil
			}
		}
		return fmt.Errorf("no line has %q", words)
	})
}

// Five hosts join one after the other. One is removed, stays out, and comes back by a new token; the one with which
// all began is replaced by another host. A pod moves meanwhile, and its client notices nothing.
func TestFiveHostsJoinLeaveAndAreReplaced(t *testing.T) {
	m := bare(t, 5)
	sites := lab.SiteNames(5)
	first, second, third, fourth, fifth := sites[0], sites[1], sites[2], sites[3], sites[4]
	m.do(t, first, "mesh", "init", "prod")
	m.startNode(t, first)
	m.refused(t, "of a mesh already", first, "mesh", "init", "prod")

	require.True(t, m.settle(t, second, first, "--server").Server)
	require.True(t, m.settle(t, third, first, "--server", "--node", third).Server)
	require.False(t, m.settle(t, fourth, second).Server, "a token is good wherever it was made")
	twice := m.invite(t, first, "--uses", "2")
	m.do(t, fifth, twice...)
	m.startNode(t, fifth)
	m.awaitServers(t, first, second, third)
	require.Len(t, m.clients, 5)

	// The mesh is as good as one that was made at once.
	require.NoError(t, m.load(t.Context(), fifth, "redis", m.images["redis"]))
	pod, counter := m.redis(t, fifth, 1<<20)
	report, err := m.migrate(t.Context(), t, third, pod.Name, second)
	require.NoError(t, err)
	t.Logf("moved from %s to %s in %.0f ms, downtime %.0f ms", fifth, second, report.TotalMS, report.DowntimeMS)
	m.awaitSettled(t, pod.Name)

	// One is removed: it is cut off at once, and does not come back.
	m.refused(t, "its agent is alive", first, "node", "rm", fifth)
	m.do(t, first, "node", "rm", fifth, "--force")
	m.forget(fifth)
	m.awaitWhole(t)
	require.NoError(t, m.SignalAgent(t.Context(), fifth, unix.SIGKILL)) // and is started again
	m.awaitLog(t, first, "refused a connection", "node "+fifth+" is revoked", "removed from the mesh")
	m.refused(t, "of a mesh already", fifth, twice...)
	require.NoError(t, m.StopAgent(t.Context(), fifth))
	m.do(t, fifth, "mesh", "leave")
	m.refused(t, "was revoked: node "+fifth+", which joined with it, was removed", fifth, twice...)
	m.awaitLog(t, first, "refused to enrol a node", "node="+fifth)
	m.settle(t, fifth, third)

	// The first host is lost, and another takes its place under its name.
	require.NoError(t, m.KeepAgent(t.Context(), first, false))
	require.NoError(t, m.SignalAgent(t.Context(), first, unix.SIGKILL))
	m.inSite(t, first, "rm -rf /etc/drover/* /var/lib/drover/*")
	m.forget(first)
	m.awaitDeath(t, first)
	m.do(t, fourth, "node", "rm", first)
	m.awaitServers(t, second, third)
	require.NotEqual(t, first, m.settle(t, first, fourth, "--server", "--node", first).AdmittedBy)
	m.awaitServers(t, first, second, third)
	require.Equal(t, sites, slices.Sorted(maps.Keys(m.clients)))
	m.awaitSettled(t, pod.Name)
	m.requireUnharmed(t, counter)
}

// awaitDeath waits until every agent that is left takes a node for dead, and knows a leader.
func (m *mesh) awaitDeath(t *testing.T, node string) {
	t.Helper()
	eventually(t, node+" is taken for dead", func() error {
		for site, c := range m.clients {
			s, err := c.GetStatus(t.Context())
			if err != nil {
				return err
			}
			n, err := c.GetNode(t.Context(), node)
			if err != nil {
				return err
			}
			if s.Leader == "" || n.State != api.NodeDead {
				return fmt.Errorf("%s sees the leader %q, and takes %s for %s", site, s.Leader, node, n.State)
			}
		}
		return nil
	})
}
