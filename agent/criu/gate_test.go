package criu

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// runGate runs the gate as CRIU does, and gives its exit code.
func runGate(t *testing.T, work, action string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(work, "gate.sh"))
	cmd.Env = append(os.Environ(), gateVariable+"="+work, "CRTOOLS_SCRIPT_ACTION="+action)
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		return exit.ExitCode()
	}
	return 0
}

// A CRIU that runs the gate twice at each stage gets one verdict, and the same answer twice.
func TestGateAnswersTwiceToOneVerdict(t *testing.T) {
	for verdict, code := range map[string]int{"resume": 0, "cancel": 1} {
		t.Run(verdict, func(t *testing.T) {
			work := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(work, "gate.sh"), []byte(gate), 0o700))
			for _, fifo := range []string{gateFifo, gateBell} {
				require.NoError(t, unix.Mkfifo(filepath.Join(work, fifo), 0o600))
			}
			r := &Restore{options: RestoreOptions{Work: work}}
			given, err := r.decide(verdict)
			require.NoError(t, err)
			defer given.Close()
			require.Equal(t, code, runGate(t, work, "post-restore"))
			require.FileExists(t, r.path(gateRestored))
			require.Equal(t, code, runGate(t, work, "post-restore"), "a second time")
			require.False(t, r.ran())
			for range 2 {
				require.Zero(t, runGate(t, work, "pre-resume"))
				require.True(t, r.ran())
			}
		})
	}
}
