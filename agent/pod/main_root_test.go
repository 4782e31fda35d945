//go:build root

package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// roleVariable says what else than tests this binary is started for.
const roleVariable = "DROVER_POD_TEST_ROLE"

// nameVariable tells tests that run at the same time apart in cgroups, which they share.
const nameVariable = "DROVER_POD_TEST_NAME"

// TestMain runs the tests in namespaces of their own: whatever becomes of them, nothing of them is left.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(isolate())
	case "init":
		os.Exit(initProcess())
	case "tests":
		os.Exit(m.Run())
	case "agent":
		os.Exit(doomedAgent())
	}
}

func isolate() int {
	if os.Geteuid() != 0 {
		fmt.Println("needs root: run make test")
		return 1
	}
	os.Setenv(nameVariable, fmt.Sprintf("drover-pod-%d", os.Getpid()))
	err := reexec("init", &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL,
	}).Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// initProcess is process 1: it reaps.
func initProcess() int {
	for _, step := range [][]string{
		{"mount", "--make-rprivate", "/"}, {"mount", "-t", "proc", "proc", "/proc"},
		{"mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec", "tmpfs", "/run"}, // as systemd mounts it
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

const specVariable = "DROVER_POD_TEST_SPEC"

// doomedAgent starts a pod and waits to be killed.
func doomedAgent() int {
	var s Spec
	err := json.Unmarshal([]byte(os.Getenv(specVariable)), &s)
	if err == nil {
		var r *Runtime
		if r, err = Open(testConfig()); err == nil {
			err = errors.Join(r.Create(context.Background(), s), r.Start(context.Background(), s.UID, main))
		}
	}
	fmt.Println("started", err)
	select {}
}
