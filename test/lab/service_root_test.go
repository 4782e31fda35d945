//go:build root

package lab

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
)

// A bare site is a host on which nobody has done anything yet.
func TestBareSites(t *testing.T) {
	noLeaks(t, "t-bare")
	o := testOptions("t-bare")
	o.Bare, o.Sites = true, 5
	l := up(t, o)
	require.Len(t, l.Sites(), 5)
	require.True(t, l.Status(t.Context()).Bare)
	for _, site := range l.Sites() {
		require.Empty(t, inSite(t, l, site.Name, "find", "/etc/drover", "/var/lib/drover", "-mindepth", "1"))
		status, err := l.Agent(t.Context(), site.Name)
		require.NoError(t, err)
		require.Equal(t, AgentStatus{}, status)
	}
	requireReaches(t, l, "syd", "ams")
	inSite(t, l, "ams", "sh", "-c", "echo 1 > /etc/drover/agent.yaml")
	require.Empty(t, inSite(t, l, "fra", "ls", "-A", "/etc/drover"), "each has its own")

	require.NoError(t, l.StartAgent(t.Context(), "ams"))
	require.NoError(t, l.StartAgent(t.Context(), "ams"), "one that runs stays")
	status, err := l.SiteStatus(t.Context(), "ams")
	require.NoError(t, err)
	require.NotZero(t, status.AgentPID)
	require.Zero(t, status.Restarts)
	require.NoError(t, l.StopAgent(t.Context(), "ams"))
	require.NoError(t, l.StopAgent(t.Context(), "ams"), "twice is harmless")
	stopped, err := l.Agent(t.Context(), "ams")
	require.NoError(t, err)
	require.Equal(t, AgentStatus{Ended: 1, LastExit: "killed by SIGTERM"}, stopped)
}

func TestAgentWithoutConfigurationIsNotStarted(t *testing.T) {
	noLeaks(t, "t-unconf")
	o := testOptions("t-unconf")
	o.Bare, o.AgentCommand = true, nil
	l := up(t, o)
	err := l.StartAgent(t.Context(), "ams")
	require.ErrorContains(t, err, "the site has no /etc/drover/agent.yaml")
	var refusal *api.Error
	require.ErrorAs(t, err, &refusal)
	require.Contains(t, refusal.Cure, "drover mesh join")

	// What stands for drover here is no agent: see TestMain.
	inSite(t, l, "ams", "sh", "-c", "echo nonsense > /etc/drover/agent.yaml")
	require.ErrorContains(t, l.StartAgent(t.Context(), "ams"), "it ended at once (exit code 3); the end of its log:\nthis is no agent")
	status, err := l.Agent(t.Context(), "ams")
	require.NoError(t, err)
	require.False(t, status.Keep)
	require.ErrorContains(t, l.SignalAgent(t.Context(), "ams", unix.SIGKILL), "doesn't run")
	require.ErrorContains(t, l.StartAgent(t.Context(), "oslo"), `no site "oslo"`)
}

// An agent that ends when it is told to does so by its own way, and one that doesn't is killed.
func TestAgentIsStoppedGently(t *testing.T) {
	noLeaks(t, "t-stop")
	o := testOptions("t-stop")
	o.AgentCommand = []string{"/bin/sh", "-c", "trap 'sleep 0.3; exit 4' TERM; [ $HOSTNAME = ams ] || trap '' TERM; echo ready > /run/ready; while :; do sleep 0.05; done"}
	l := up(t, o)
	for _, site := range []string{"ams", "fra"} {
		eventually(t, "the trap is set", func() bool { return l.Exec(t.Context(), site, "test", "-e", "/run/ready").Run() == nil })
	}
	require.NoError(t, l.StopAgent(t.Context(), "ams"))
	status, err := l.Agent(t.Context(), "ams")
	require.NoError(t, err)
	require.Equal(t, AgentStatus{Ended: 1, LastExit: "exit code 4"}, status)

	impatient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = l.StopAgent(impatient, "fra")
	require.ErrorContains(t, err, "did not end by SIGTERM and was killed")
	eventually(t, "it is dead", func() bool {
		status, err := l.Agent(t.Context(), "fra")
		return err == nil && !status.Running && strings.Contains(status.LastExit, "SIGKILL")
	})
}
