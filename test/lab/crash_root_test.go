//go:build root

package lab

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDownAfterTheRouterWasKilled(t *testing.T) {
	noLeaks(t, "t-router")
	l := up(t, testOptions("t-router"))
	require.NoError(t, unix.Kill(l.Status(t.Context()).RouterPID, unix.SIGKILL))
	eventually(t, "the lab is told to be broken", func() bool {
		s := l.Status(t.Context())
		return s.State == "broken" && strings.Contains(s.Problem, "its WAN router has died")
	})
	_, err := Up(t.Context(), testOptions("t-router"), func(string) {})
	require.ErrorContains(t, err, "run drover lab down --name t-router first")
	require.NoError(t, Down(t.Context(), "t-router"))
}

func TestDownAfterAnInitWasKilled(t *testing.T) {
	noLeaks(t, "t-init")
	l := up(t, testOptions("t-init"))
	require.NoError(t, unix.Kill(l.Status(t.Context()).Sites[1].InitPID, unix.SIGKILL))
	eventually(t, "the lab is told to be broken", func() bool {
		return strings.Contains(l.Status(t.Context()).Problem, "site fra has died")
	})
	require.ErrorContains(t, l.Exec(t.Context(), "fra", "true").Run(), "exit status 1")
	require.NoError(t, Down(t.Context(), "t-init"))
}

// The process of drover lab up is killed after each line of progress that it writes.
func TestDownAfterUpWasKilledInTheMiddle(t *testing.T) {
	noLeaks(t, "t-killed")
	executable, err := os.Executable()
	require.NoError(t, err)
	const lines = 6
	for after := range lines {
		cmd := exec.Command(executable, "lab", "up", "t-killed")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		progress := bufio.NewScanner(out)
		for range after {
			require.True(t, progress.Scan())
		}
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait() // after the last line it may have ended by itself
		if after%2 == 0 {
			l := up(t, testOptions("t-killed")) // cleans up by itself, or finds it complete
			require.Equal(t, "up", l.Status(t.Context()).State)
			require.NoError(t, l.Down(t.Context()))
			continue
		}
		require.NoError(t, Down(t.Context(), "t-killed"))
		require.NoDirExists(t, filepath.Join(stateRoot, "t-killed"))
	}
}

// What pods are: daemons in cgroups of their own, some of them frozen, with mounts of their own.
func TestDownKillsDaemonsAndFrozenCgroups(t *testing.T) {
	noLeaks(t, "t-frozen")
	l := up(t, testOptions("t-frozen"))
	groups, err := openHierarchies()
	require.NoError(t, err)
	pods := filepath.Join(l.cgroup("ams"), "pods", "a")
	require.NoError(t, groups.make(pods))
	for _, point := range groups {
		inSite(t, l, "ams", "sh", "-ec", fmt.Sprintf(`setsid unshare -m sh -c 'echo $$ > %s/cgroup.procs; mount -t tmpfs x /mnt; exec sleep 1000' </dev/null >/dev/null 2>&1 &
			until grep -q . %[1]s/cgroup.procs; do sleep 0.01; done`, filepath.Join(point, "pods", "a")))
		for name, value := range map[string]string{"freezer.state": "FROZEN", "cgroup.freeze": "1"} {
			if path := filepath.Join(point, pods, name); fileExists(path) {
				require.NoError(t, os.WriteFile(path, []byte(value), 0))
			}
		}
	}
	require.NoError(t, l.Down(t.Context()))
	dirs, err := cgroupTree(cgroupOf("t-frozen"))
	require.NoError(t, err)
	require.Empty(t, dirs)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
