//go:build root

package criu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// roleVariable says what else than tests this binary is started for.
const roleVariable = "DROVER_CRIU_TEST_ROLE"

// nameVariable tells tests that run at the same time apart: in cgroups and on disk, which they share.
const nameVariable = "DROVER_CRIU_TEST_NAME"

// TestMain runs the tests in namespaces of their own: a /run on tmpfs, as CRIU and runc expect, a network without anything,
// and process ids that end with the tests, whatever became of them.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(isolate())
	case "init":
		os.Exit(initProcess())
	case "tests":
		os.Exit(m.Run())
	case "pod":
		os.Exit(servePod())
	case "agent":
		os.Exit(doomedAgent())
	}
}

func isolate() int {
	if os.Geteuid() != 0 {
		fmt.Println("needs root: run make test")
		return 1
	}
	name := fmt.Sprintf("drover-criu-%d", os.Getpid())
	os.Setenv(nameVariable, name)
	code := exitCode(reexec("init", &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL,
	}).Run())
	// What was frozen when its namespace ended dies when it is thawed.
	sweep := fmt.Sprintf(`rm -rf /var/tmp/%[1]s; for f in /sys/fs/cgroup/freezer/%[1]s/*/freezer.state; do [ ! -e $f ] || echo THAWED > $f; done
for d in /sys/fs/cgroup/%[1]s/* /sys/fs/cgroup/*/%[1]s/* /sys/fs/cgroup/%[1]s /sys/fs/cgroup/*/%[1]s; do [ ! -d $d ] || rmdir $d; done`, name)
	if out, err := exec.Command("sh", "-c", sweep).CombinedOutput(); err != nil {
		fmt.Println("the tests left something:", err, string(out))
		return 1
	}
	return code
}

// initProcess is process 1: it reaps.
func initProcess() int {
	for _, step := range [][]string{
		{"mount", "--make-rprivate", "/"}, {"mount", "-t", "proc", "proc", "/proc"},
		{"mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec", "tmpfs", "/run"}, // as systemd mounts it
		{"ip", "link", "set", "lo", "up"},
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			fmt.Println(step, err, string(out))
			return 1
		}
	}
	tests := reexec("tests", nil)
	if err := tests.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			fmt.Println(err)
			return 1
		}
		if pid == tests.Process.Pid {
			return status.ExitStatus()
		}
	}
}

func reexec(role string, attr *unix.SysProcAttr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	return cmd
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Println(err)
	return 1
}
