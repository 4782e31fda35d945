//go:build root

package offender

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// stageVariable says what else than tests this binary is started for.
	stageVariable = "DROVER_OFFENDER_STAGE"
	// roleVariable says what the process in a container does.
	roleVariable = "DROVER_OFFENDER_ROLE"
	// nameVariable tells runs of the tests apart: in cgroups and on disk, which they share.
	nameVariable = "DROVER_OFFENDER_NAME"
)

// TestMain runs the tests in namespaces of their own: a /run on tmpfs, as CRIU and runc expect, a network without anything,
// and process ids that end with the tests, whatever became of them.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	switch os.Getenv(stageVariable) {
	case "":
		os.Exit(isolate())
	case "init":
		os.Exit(initProcess())
	case "tests":
		os.Exit(m.Run())
	}
}

func isolate() int {
	if os.Geteuid() != 0 {
		fmt.Println("needs root: run make test")
		return 1
	}
	name := fmt.Sprintf("drover-offender-%d", os.Getpid())
	os.Setenv(nameVariable, name)
	code := exitCode(reexec("init", &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL,
	}).Run())
	// What was frozen when its namespace ended dies when it is thawed.
	sweep := fmt.Sprintf(`rm -rf /var/tmp/%[1]s
for f in /sys/fs/cgroup/freezer/%[1]s/*/freezer.state; do [ ! -e $f ] || echo THAWED > $f; done
for f in /sys/fs/cgroup/%[1]s/*/cgroup.freeze; do [ ! -e $f ] || echo 0 > $f; done
for i in 1 2 3 4 5 6 7 8 9 10; do
	left=; for d in /sys/fs/cgroup/%[1]s/* /sys/fs/cgroup/*/%[1]s/* /sys/fs/cgroup/%[1]s /sys/fs/cgroup/*/%[1]s; do [ ! -d $d ] || rmdir $d 2>/dev/null || left=$d; done
	[ -n "$left" ] || exit 0; sleep 0.2
done; echo $left; exit 1`, name)
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

func reexec(stage string, attr *unix.SysProcAttr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
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
