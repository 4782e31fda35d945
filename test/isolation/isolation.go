//go:build root

// Package isolation runs the root tests of a package in namespaces of their own: a /run on tmpfs, as CRIU and runc expect it, a
// network without anything, and process ids that end with the tests, whatever became of them.
package isolation

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// roleVariable says what else than tests a test's binary is started for.
	roleVariable = "DROVER_TEST_ROLE"
	// nameVariable tells runs apart in what namespaces don't: cgroups and the disk.
	nameVariable = "DROVER_TEST_NAME"
)

// The roles that every test's binary has.
const (
	asInit  = "init"
	asTests = "tests"
)

// Main is what a TestMain calls; it doesn't return. name becomes a part of Name. Processes of the test's binary that Command or
// Environ gave a role call play with it, and exit with what that returns.
func Main(m *testing.M, name string, play func(role string) int) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(isolate(name))
	case asInit:
		os.Exit(initProcess())
	case asTests:
		os.Exit(m.Run())
	default:
		os.Exit(play(role))
	}
}

// Name is that of this run, for cgroups in the root of each hierarchy and directories in /var/tmp: they are removed at its end.
func Name() string { return os.Getenv(nameVariable) }

// Environ is the variable that makes a process of the test's binary play a role.
func Environ(role string) string { return roleVariable + "=" + role }

// Command is the test's binary in a role.
func Command(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), Environ(role))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func isolate(name string) int {
	if os.Geteuid() != 0 {
		fmt.Println("needs root: run make test")
		return 1
	}
	name = fmt.Sprintf("drover-%s-%d", name, os.Getpid())
	if err := os.Setenv(nameVariable, name); err != nil {
		fmt.Println(err)
		return 1
	}
	tests := Command(asInit)
	tests.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	code := exitCode(tests.Run())
	if left, err := sweep(name); err != nil {
		fmt.Println("the tests left something:", err, left)
		return 1
	}
	return code
}

// sweep removes what namespaces don't take with them. What was frozen when its namespace ended dies when it is thawed.
func sweep(name string) (left string, err error) {
	out, err := exec.Command("sh", "-c", strings.ReplaceAll(`rm -rf /var/tmp/NAME
for f in /sys/fs/cgroup/freezer/NAME/*/freezer.state; do [ ! -e $f ] || echo THAWED > $f; done
for f in /sys/fs/cgroup/NAME/*/cgroup.freeze; do [ ! -e $f ] || echo 0 > $f; done
for i in 1 2 3 4 5 6 7 8 9 10; do
	left=; for d in /sys/fs/cgroup/NAME/* /sys/fs/cgroup/*/NAME/* /sys/fs/cgroup/NAME /sys/fs/cgroup/*/NAME; do [ ! -d $d ] || rmdir $d 2>/dev/null || left=$d; done
	[ -n "$left" ] || exit 0; sleep 0.2
done; echo $left; exit 1`, "NAME", name)).CombinedOutput()
	return string(out), err
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
	tests := Command(asTests)
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
