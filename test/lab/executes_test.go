package lab

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A process that was killed while it stood still dies when it is let go, and does nothing else.
func TestExecutes(t *testing.T) {
	require.True(t, Executes(strconv.Itoa(os.Getpid())))
	require.False(t, Executes("0"), "there is none")
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := strconv.Itoa(cmd.Process.Pid)
	require.True(t, Executes(pid))
	require.NoError(t, cmd.Process.Signal(unix.SIGSTOP))
	require.Eventually(t, func() bool { return !Executes(pid) }, time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(unix.SIGCONT))
	require.Eventually(t, func() bool { return Executes(pid) }, time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Eventually(t, func() bool { return !Executes(pid) }, time.Second, time.Millisecond, "a zombie")
}
