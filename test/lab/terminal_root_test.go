//go:build root

package lab

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal returns both ends of a new pseudo-terminal (pty(7)).
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	require.NoError(t, err)
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestExecOnATerminal(t *testing.T) {
	noLeaks(t, "t-tty")
	l := up(t, testOptions("t-tty"))
	master, slave := terminal(t)
	cmd := l.Exec(t.Context(), "ams", "sh", "-c", `trap "echo interrupted; exit 9" INT; tty; while :; do sleep 0.05; done`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	require.NoError(t, master.SetDeadline(time.Now().Add(10*time.Second)))
	lines := bufio.NewReader(master)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, slave.Name(), strings.TrimSpace(line))
	_, err = master.Write([]byte{3}) // Ctrl-C
	require.NoError(t, err)
	require.Equal(t, 9, exitCode(cmd.Wait()))
}
