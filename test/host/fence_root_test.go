//go:build root

package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/workload"
)

// leaseAndFence is after how long without a renewal nothing of a pod runs: a lease, and the fence's bound.
const leaseAndFence = 7 * time.Second

// The agent stands still, as one that hangs: nobody renews the lease. The fence freezes the pod in time, without it. When the agent
// goes on it finds its pod elsewhere.
func TestFenceNeedsNoAgent(t *testing.T) {
	m := begin(t)
	redis := m.run(t, "fra", withFailover(workload.Redis))
	agent, err := m.AgentPID(t.Context(), "fra")
	require.NoError(t, err)
	require.NoError(t, unix.Kill(agent, unix.SIGSTOP))
	t.Cleanup(func() { _ = unix.Kill(agent, unix.SIGCONT) })
	stopped := time.Now()
	require.True(t, waitFor(func() bool { return m.wholeFrozen(t, "fra", redis.UID) }), "it is never frozen")
	late := time.Since(stopped)
	t.Logf("frozen %s after its agent had stood still", late.Round(time.Millisecond))
	require.Less(t, late, leaseAndFence+500*time.Millisecond) // with the way of the question into the site
	eventually(t, "another node has taken it over", func() error {
		p, err := m.clients["ams"].GetPod(t.Context(), "redis")
		if err == nil && (p.Node == "fra" || p.Phase != api.PodRunning) {
			err = fmt.Errorf("%s at %s", p.Phase, p.Node)
		}
		return err
	})
	require.True(t, m.wholeFrozen(t, "fra", redis.UID))
	require.NoError(t, unix.Kill(agent, unix.SIGCONT))
	m.awaitWhole(t)
	eventually(t, "the frozen copy is removed", func() error {
		if slices.Contains(m.copies(t, redis.UID), "fra") {
			return errors.New("it is there")
		}
		return nil
	})
}

// A pod with a policy moves under the fence of its source to that of its target, and its clients don't notice. Whoever kills the
// fence, or the agent and the fence, doesn't end it.
func TestProtectedPodMovesAndOutlivesItsFence(t *testing.T) {
	m := begin(t)
	m.run(t, "fra", withFailover(workload.Redis))
	c, err := workload.NewCounter(t.Context(), m.Dialer("client"), m.address(t, "redis"))
	require.NoError(t, err)
	c.Start()
	m.requireCounting(t, c)
	_, err = m.migrate(t.Context(), t, "fra", "redis", "nyc")
	require.NoError(t, err)
	eventually(t, "the source needs no fence", func() error { return m.fences(t, "fra", 0) })
	require.NoError(t, m.fences(t, "nyc", 1))

	old := m.inSite(t, "nyc", "ls /run/drover/fence | grep -v log")
	m.inSite(t, "nyc", "kill -9 "+strings.TrimSpace(old))
	eventually(t, "there is another fence", func() error {
		if m.inSite(t, "nyc", "ls /run/drover/fence | grep -v log || true") == old {
			return errors.New("it is the old one")
		}
		return m.fences(t, "nyc", 1)
	})
	m.requireCounting(t, c)

	m.inSite(t, "nyc", "kill -9 $(ls /run/drover/fence | grep -v log)")
	m.kill(t, "nyc")
	eventually(t, "agent and fence are back", func() error { return m.fences(t, "nyc", 1) })
	m.awaitWhole(t)
	pod := m.awaitSettled(t, "redis")
	require.Equal(t, "nyc", pod.Node)
	require.Nil(t, pod.Origin, "it is the pod that it was")
	m.requireUnharmed(t, c)
}

func (m *mesh) address(t *testing.T, pod string) string {
	t.Helper()
	p, err := m.clients["ams"].GetPod(t.Context(), pod)
	require.NoError(t, err)
	return p.Address + ":6379"
}

// fences returns an error unless a site has so many fences, each with its rules.
func (m *mesh) fences(t *testing.T, site string, want int) error {
	t.Helper()
	out := m.inSite(t, site, `for s in /run/drover/fence/[0-9]*; do [ ! -e $s ] || [ ! -e /proc/${s##*/} ] || echo fence; done`)
	if got := strings.Count(out, "fence"); got != want {
		return fmt.Errorf("there are %d fences on %s, not %d", got, site, want)
	}
	return nil
}

// wholeFrozen says whether the cgroup of a pod as a whole is frozen at a site.
func (m *mesh) wholeFrozen(t *testing.T, site, uid string) bool {
	t.Helper()
	out := m.inSite(t, site, `for f in /sys/fs/cgroup/freezer/pods/`+uid+`/freezer.state /sys/fs/cgroup/pods/`+uid+`/cgroup.events; do [ ! -e $f ] || cat $f; done`)
	return strings.Contains(out, "FROZEN") || strings.Contains(out, "frozen 1")
}
