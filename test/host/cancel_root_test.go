//go:build root

package host

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
)

// A move that is cancelled before its point of no return never was: the pod goes on, and its client noticed a pause at most.
func TestCancelledMoveIsUndone(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", struckFill)
	m.slow(t, "ams", "fra", struckRate)
	for _, step := range []string{"presync", "final"} {
		cancelled := make(chan error, 1)
		_, err := m.migrate(t.Context(), t, "ams", "redis", "fra", on(step, api.StepStarted, func() {
			go func() {
				migration, err := m.clients["nyc"].CancelMigration(t.Context(), "redis")
				assert.Equal(t, api.MigrationAborted, migration.Phase)
				cancelled <- err
			}()
		}))
		require.NoError(t, <-cancelled, step)
		require.Equal(t, api.Aborted, api.AsError(err).Code, "%s: %v", step, err)
		require.Equal(t, "ams", m.awaitSettled(t, "redis").Node)
		m.requireCounting(t, counter)

		// The caller goes away: its request ends, and with it the move.
		ctx, leave := context.WithCancel(t.Context())
		_, err = m.migrate(ctx, t, "ams", "redis", "fra", on(step, api.StepStarted, leave))
		leave()
		require.Equal(t, api.Canceled, api.AsError(err).Code, "%s: %v", step, err)
		require.Equal(t, "ams", m.awaitSettled(t, "redis").Node)
		m.requireCounting(t, counter)
	}
	_, err := m.clients["ams"].CancelMigration(t.Context(), "redis")
	require.Equal(t, api.NotFound, api.AsError(err).Code, "nothing is left to cancel: %v", err)
	m.requireMovesOn(t, counter, "fra")
}

// Ctrl-C at a terminal, while the final transfer goes on.
func TestInterruptedMigrateCommand(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", struckFill)
	m.slow(t, "ams", "fra", struckRate)
	cmd := m.Exec(t.Context(), "ams", "drover", "migrate", "redis", "--to", "fra")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var errs strings.Builder
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	shown := bufio.NewReader(out)
	for line := ""; !strings.Contains(line, "freeze"); {
		line, err = shown.ReadString('\n')
		require.NoError(t, err, "%s", &errs)
	}
	require.NoError(t, cmd.Process.Signal(unix.SIGINT))
	rest, err := io.ReadAll(shown)
	require.NoError(t, err)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, 5, exit.ExitCode())
	require.Contains(t, string(rest), "undone")
	require.Contains(t, errs.String(), "cancelling")
	require.Contains(t, errs.String(), "the pod goes on at ams as if nothing had been")
	require.Equal(t, "ams", m.awaitSettled(t, "redis").Node)
	m.requireMovesOn(t, counter, "nyc")
}
