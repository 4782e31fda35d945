package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Exec is a command to be run in a container, beside what runs there: as its user, with its environment and its limits.
type Exec struct {
	Command        []string
	TTY            bool      // give it a terminal: its output and its errors are one stream then
	Stdin          io.Reader // nil for none
	Stdout, Stderr io.Writer
	Sizes          <-chan Size // of the terminal, as they change; may be nil
}

// Size is that of a terminal, in characters.
type Size struct{ Rows, Columns int }

// ErrNotRunning says that a container has no process, or that it is frozen.
var ErrNotRunning = errors.New("the container doesn't run")

// endAfter is how long a command whose caller is gone may take to end by itself.
const endAfter = 2 * time.Second

// Exec runs a command in a container and returns its exit code, 128 + n after signal n. When ctx ends so does the command. It
// doesn't wait for a Stdin that is still being read.
func (r *Runtime) Exec(ctx context.Context, uid, container string, e Exec) (int, error) {
	code, err := r.exec(ctx, uid, container, e)
	if err != nil {
		return 0, fmt.Errorf("running %s in container %s: %w", e.Command[0], container, err)
	}
	return code, nil
}

func (r *Runtime) exec(ctx context.Context, uid, container string, e Exec) (int, error) {
	s, err := r.spec(uid)
	if err != nil {
		return 0, err
	}
	status, err := r.containerStatus(s, container)
	if err != nil {
		return 0, err
	}
	if status.Phase != Running {
		return 0, fmt.Errorf("%w: it is %s", ErrNotRunning, status.Phase)
	}
	dir, err := os.MkdirTemp(r.container(uid, container).run, "exec-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	x := &execution{pidFile: filepath.Join(dir, "pid"), log: filepath.Join(dir, "log")}
	args, err := r.runcIn(uid, container, dir)
	if err != nil {
		return 0, err
	}
	args = append(args, "--log", x.log, "--log-format", "json", "exec", "--pid-file", x.pidFile)
	if e.TTY {
		args = append(args, "--tty")
	}
	args = append(append(args, containerID(uid, container)), e.Command...)
	x.cmd = exec.Command(args[0], args[1:]...)
	x.cmd.Env = environment()
	if e.TTY {
		return x.onTerminal(ctx, e)
	}
	return x.onPipes(ctx, e)
}

// execution is a command under way.
type execution struct {
	cmd          *exec.Cmd
	pidFile, log string
}

// onTerminal runs the command on a terminal of ours, which runc carries over to one in the container.
func (x *execution) onTerminal(ctx context.Context, e Exec) (int, error) {
	terminal, err := pty.Start(x.cmd)
	if err != nil {
		return 0, err
	}
	over := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		for {
			select {
			case s := <-e.Sizes:
				_ = pty.Setsize(terminal, &pty.Winsize{Rows: uint16(s.Rows), Cols: uint16(s.Columns)})
			case <-over:
				return
			}
		}
	})
	if e.Stdin != nil {
		go func() { _, _ = io.Copy(terminal, e.Stdin) }() // ends with Stdin, or when the terminal is closed
	}
	stop := context.AfterFunc(ctx, x.end)
	_, _ = io.Copy(e.Stdout, terminal) // EIO is the end: the last one who had it open is gone
	code, err := x.wait(ctx)
	stop()
	close(over)
	following.Wait()
	terminal.Close()
	return code, err
}

func (x *execution) onPipes(ctx context.Context, e Exec) (int, error) {
	x.cmd.Stdout, x.cmd.Stderr = e.Stdout, e.Stderr
	x.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	x.cmd.WaitDelay = endAfter // for what the command has left behind with its pipes
	var input io.WriteCloser
	if e.Stdin != nil {
		var err error
		if input, err = x.cmd.StdinPipe(); err != nil {
			return 0, err
		}
	}
	if err := x.cmd.Start(); err != nil {
		return 0, err
	}
	if input != nil {
		go func() { // ends with Stdin, or with the command, which closes the pipe
			_, _ = io.Copy(input, e.Stdin)
			input.Close()
		}()
	}
	defer context.AfterFunc(ctx, x.end)()
	return x.wait(ctx)
}

// wait returns the command's exit code once it has one.
func (x *execution) wait(ctx context.Context) (int, error) {
	err := x.cmd.Wait()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if _, began := readPid(x.pidFile); began != nil {
		return 0, errors.New(complaint(x.log))
	}
	state := x.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if state.Signaled() {
		return 128 + int(state.Signal()), nil
	}
	return state.ExitStatus(), nil
}

// end ends a command whose caller is gone: politely, then by force.
func (x *execution) end() {
	pid, err := readPid(x.pidFile)
	if err != nil {
		_ = x.cmd.Process.Kill()
		return
	}
	_ = unix.Kill(pid, unix.SIGHUP)
	limit, cancel := context.WithTimeout(context.Background(), endAfter)
	defer cancel()
	if gone(limit, pid) != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}
