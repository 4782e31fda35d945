//go:build root

package host

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/workload"
)

// The pod's fill and the network's rate while agents are struck: its images are under way for some two seconds.
const (
	struckFill = 1 << 20
	struckRate = 20e6
)

// Both agents are killed in the middle of the final transfer. The pod must serve on exactly one site afterwards, its client must
// have noticed a pause at most, and the next move must be like any other. Faults that strike one of them, at each step: test/crash.
func TestStruckAtFinal(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", struckFill)
	m.slow(t, "ams", "fra", struckRate)
	struck := false
	_, err := m.migrate(t.Context(), t, "ams", "redis", "fra", on("final", api.StepStarted, func() {
		m.kill(t, "ams", "fra")
		struck = true
	}))
	require.True(t, struck)
	require.Error(t, err)
	t.Logf("the caller hears: %v", err)

	// Not all had arrived: the pod can only go on where it was.
	pod := m.awaitSettled(t, "redis")
	require.Equal(t, "ams", pod.Node)
	m.requireMovesOn(t, counter, "fra")
}

// requireMovesOn heals the mesh, moves the pod once more and compares what the client saw of it all.
func (m *mesh) requireMovesOn(t *testing.T, counter *workload.Counter, to string) {
	t.Helper()
	m.requireCounting(t, counter)
	m.heal(t)
	m.awaitWhole(t)
	_, err := m.migrate(t.Context(), t, "nyc", "redis", to)
	require.NoError(t, err, "a later move")
	require.Equal(t, to, m.awaitSettled(t, "redis").Node)
	m.requireUnharmed(t, counter)
}

// The mesh cannot agree, since the two other agents stand still; so the restored pod waits. Then the target's agent dies.
func TestTargetKilledWhileTheRestoredPodWaits(t *testing.T) {
	m := begin(t)
	pod, counter := m.redis(t, "ams", struckFill)
	stopped := false
	result := make(chan error, 1)
	go func() {
		_, err := m.migrate(t.Context(), t, "ams", "redis", "fra", on("restore", api.StepStarted, func() {
			m.signal(t, unix.SIGSTOP, "ams", "nyc")
			stopped = true
		}))
		result <- err
	}()
	eventually(t, "a copy of the pod waits at the target", func() error {
		if sites := m.copies(t, pod.UID); len(sites) != 2 {
			return fmt.Errorf("copies on %v", sites)
		}
		return nil
	})
	m.kill(t, "fra")
	m.signal(t, unix.SIGCONT, "ams", "nyc")
	err := <-result
	require.True(t, stopped)
	pod = m.awaitSettled(t, "redis")
	t.Logf("the caller hears: %v; the pod is on %s", err, pod.Node)
	m.requireMovesOn(t, counter, "nyc")
}

// The target owns the pod already, CRIU takes its time there, and the agent dies. Its next one must restore again: the
// source's copy may not run any more.
func TestTargetKilledAfterActivateBeforeTheRestore(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", struckFill)
	m.wrapCRIU(t, "fra", `case "$1" in swrk) until [ -e /run/go ]; do read -r _ < /proc/uptime; done;; esac`)
	killed := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		_, err := m.migrate(t.Context(), t, "ams", "redis", "fra")
		result <- err
	}()
	go func() {
		defer close(killed)
		waitFor(func() bool {
			migrations, err := m.clients["nyc"].ListMigrations(t.Context())
			return err == nil && slices.ContainsFunc(migrations, func(g api.Migration) bool { return g.Phase == api.MigrationActivated })
		})
		m.kill(t, "fra")
	}()
	<-killed
	m.inSite(t, "fra", "touch /run/go")
	err := <-result
	t.Logf("the caller hears: %v", err)
	require.NoError(t, err, "the move goes on")
	require.Equal(t, "fra", m.awaitSettled(t, "redis").Node)
	m.inSite(t, "fra", "rm /run/go")
	m.unwrapCRIU(t, "fra")
	m.requireMovesOn(t, counter, "nyc")
}
