//go:build root

package offender

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/isolation"
)

// nested starts a process in a namespace of its own.
func nested(flag uintptr) error {
	cmd := exec.Command("/offender")
	cmd.Env = []string{isolation.Environ("child")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
	return cmd.Start()
}

func threadNamespace() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- unix.Unshare(unix.CLONE_NEWNET)
		forever()
	}()
	return <-done
}

// traced starts a child that it traces.
func traced() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the tracer is a thread
		cmd := exec.Command("/offender")
		cmd.Env = []string{isolation.Environ("child")}
		err := cmd.Start()
		if err == nil {
			const seize = 0x4206 // PTRACE_SEIZE
			_, _, errno := unix.Syscall6(unix.SYS_PTRACE, seize, uintptr(cmd.Process.Pid), 0, 0, 0, 0)
			err = result(errno)
		}
		done <- err
		forever()
	}()
	return <-done
}

// vfork suspends a thread until a child that shares its memory has ended, which it doesn't.
func vfork() error {
	go func() {
		runtime.LockOSThread()
		_ = fork(unix.CLONE_VM | unix.CLONE_VFORK)
	}()
	return nil
}

// fork makes a child that does nothing.
func fork(flags uintptr) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	for errno == 0 && pid == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
	}
	return result(errno)
}

func deadline() error {
	attributes := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: 6, Runtime: 1e6, Deadline: 1e8, Period: 1e8}
	return unix.SchedSetAttr(os.Getpid(), &attributes, 0)
}

func firstThreadEnded() error {
	if unix.Gettid() != os.Getpid() {
		return errors.New("this is not the first thread")
	}
	go func() {
		_ = os.WriteFile("/note", []byte("ready"), 0o600) // nobody else will
		forever()
	}()
	_, _, errno := unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	return result(errno)
}

// seccompSupervisor installs a filter that allows everything, with a listener.
func seccompSupervisor() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := unix.SockFilter{Code: 0x06, K: 0x7fff0000} // return SECCOMP_RET_ALLOW
	program := unix.SockFprog{Len: 1, Filter: &filter}
	const setModeFilter, newListener = 1, 1 << 3
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, newListener, uintptr(unsafe.Pointer(&program)))
	return result(errno)
}

// workers starts processes that have files open.
func workers(processes, files int) error {
	for range files {
		if _, err := os.Open("/usr/bin"); err != nil {
			return err
		}
	}
	for i := range processes {
		if err := fork(0); err != nil {
			return fmt.Errorf("process %d: %w", i, err)
		}
	}
	return nil
}
