//go:build root

package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
)

// ticking is a pod that writes a line to its log ten times a second.
const ticking = `
apiVersion: v1
kind: Pod
metadata: {name: ticking}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: ticking
      image: nginx
      command: [/bin/dash, -euc]
      args: ["i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done"]
`

// Pods don't notice that their agent is restarted or killed: not their processes, not their clients, not their logs.
func TestPodsOutliveTheirAgent(t *testing.T) {
	m := begin(t)
	require.NoError(t, m.load(t.Context(), "fra", "nginx", m.images["nginx"]))
	redis, counter := m.redis(t, "fra", 1<<20)
	m.run(t, "fra", []byte(ticking))
	before := m.pods(t, "fra")
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGKILL} {
		old, err := m.AgentPID(t.Context(), "fra")
		require.NoError(t, err)
		m.signal(t, signal, "fra")
		eventually(t, "another agent runs", func() error {
			pid, err := m.AgentPID(t.Context(), "fra")
			if err == nil && pid == old {
				err = errors.New("it is the old one")
			}
			return err
		})
		m.requireCounting(t, counter)
		m.awaitWhole(t)
		require.Equal(t, before, m.pods(t, "fra"), "drover pod ls")
		m.requireNewTicks(t)
	}
	require.Equal(t, "fra", m.awaitSettled(t, "redis").Node)
	_, err := m.migrate(t.Context(), t, "nyc", "redis", "ams")
	require.NoError(t, err, "a later move")
	require.Equal(t, redis.UID, m.awaitSettled(t, "redis").UID)
	m.requireUnharmed(t, counter)
}

// pods is what a site says of the mesh's pods: what does not change includes the pids.
func (m *mesh) pods(t *testing.T, site string) []api.Pod {
	t.Helper()
	pods, err := m.clients[site].ListPods(t.Context(), false)
	require.NoError(t, err)
	for _, p := range pods {
		require.Equal(t, api.PodRunning, p.Phase, "%s: %s", p.Name, p.Reason)
		require.Positive(t, p.Containers[0].PID)
	}
	return pods
}

// requireNewTicks reads the log as it is, and then follows it for three more lines.
func (m *mesh) requireNewTicks(t *testing.T) {
	t.Helper()
	var log bytes.Buffer
	eventually(t, "another agent's client has noticed the restart", func() error {
		log.Reset()
		return m.clients["ams"].PodLogs(t.Context(), "ticking", api.LogOptions{}, api.LinesTo{W: &log})
	})
	require.True(t, strings.HasPrefix(log.String(), "tick 1\ntick 2\n"), "%.100s", log.String())
	known := strings.Count(log.String(), "\n")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, w := io.Pipe()
	go func() {
		_ = w.CloseWithError(m.clients["ams"].PodLogs(ctx, "ticking", api.LogOptions{Follow: true}, api.LinesTo{W: w}))
	}()
	lines := bufio.NewScanner(r)
	for range known + 3 {
		require.True(t, lines.Scan(), "%v", lines.Err())
	}
	require.NoError(t, r.Close())
}
