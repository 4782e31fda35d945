package fence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Find connects to all fences of a node that live, and removes what is left of those that don't. A node has one; two for the
// moment in which one takes over from another. The caller closes them.
func Find(dir string) ([]*Fence, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for fences: %w", err)
	}
	var all []*Fence
	for _, e := range entries {
		if e.Type() != os.ModeSocket {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, err := dial(path)
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ESRCH) { // it was killed
			err = os.Remove(path)
		} else if err == nil {
			all = append(all, f)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return all, fmt.Errorf("looking for fences: %w", err)
		}
	}
	return all, nil
}

// startWithin bounds how long a fence may take to start.
const startWithin = 5 * time.Second

// Start starts a fence process: command, with the directory of its socket behind it, in a session of its own. It returns
// when the fence serves. The process outlives the caller.
func Start(ctx context.Context, dir string, command ...string) (*Fence, error) {
	f, err := start(ctx, dir, command)
	if err != nil {
		return nil, fmt.Errorf("starting a fence: %w", err)
	}
	return f, nil
}

func start(ctx context.Context, dir string, command []string) (*Fence, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	heard, said, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer heard.Close()
	cmd := exec.Command(command[0], append(slices.Clone(command[1:]), "--dir", dir)...)
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = said, said, environment(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = said.Close()
	if err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // how it ends is seen by its connection
	if err := heard.SetReadDeadline(time.Now().Add(startWithin)); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill())
	}
	stop := context.AfterFunc(ctx, func() { _ = heard.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := io.ReadAll(heard)
	if text := strings.TrimSpace(string(line)); text != ready {
		return nil, errors.Join(fmt.Errorf("it says %q", text), err, cmd.Process.Kill())
	}
	f, err := dial(socketPath(dir, cmd.Process.Pid))
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill())
	}
	return f, nil
}

// environment is the agent's without what is meant for the agent alone: whoever holds NOTIFY_SOCKET speaks to systemd in its name.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_") || strings.HasPrefix(v, "LISTEN_")
	})
}
