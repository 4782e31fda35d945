package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// downTimeout bounds a clean-up whose caller has run out of time already.
const downTimeout = 20 * time.Second

// Down takes the lab down and leaves nothing of it, whatever has crashed. Twice is harmless.
func (l *Lab) Down(ctx context.Context) error {
	children := l.children
	l.children = nil
	return down(ctx, l.plan.Name, children)
}

// Down takes the lab of that name down, also one that never came up whole. That there is none is
// no error.
func Down(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return down(ctx, name, nil)
}

func down(ctx context.Context, name string, children []*exec.Cmd) error {
	if os.Geteuid() != 0 {
		return errors.New("a lab is root's: run this as root")
	}
	lock, err := lockDir(ctx, filepath.Join(stateRoot, name), false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lab %q: %w", name, err)
	}
	if err == nil {
		defer lock.Close()
	}
	return destroy(ctx, name, children)
}

// destroy removes all of the lab, in an order in which nothing can come back: the processes that
// start others, the other processes, then what is left of them.
func destroy(ctx context.Context, name string, children []*exec.Cmd) error {
	dir := filepath.Join(stateRoot, name)
	found, err := processes(dir)
	if err != nil {
		return err
	}
	var dying []int
	for _, p := range found {
		pidfd, killErr := p.kill(dir)
		err = errors.Join(err, killErr)
		if pidfd >= 0 {
			dying = append(dying, pidfd)
			defer unix.Close(pidfd) //nolint:errcheck // only waited with
		}
	}
	// An init ends when all of its namespace have, and a frozen process ends when it is thawed.
	err = errors.Join(err, destroyCgroup(ctx, cgroupOf(name)))
	for _, pidfd := range dying {
		err = errors.Join(err, awaitEnd(ctx, pidfd))
	}
	if err != nil {
		return fmt.Errorf("taking lab %q down: %w", name, err)
	}
	for _, cmd := range children {
		_ = cmd.Wait() // it was killed
	}
	if err := unmountBelow(dir); err != nil {
		return fmt.Errorf("taking lab %q down: %w", name, err)
	}
	if err := awaitLoops(ctx, dir); err != nil {
		return fmt.Errorf("taking lab %q down: %w", name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("taking lab %q down: %w", name, err)
	}
	if err := os.Remove(stateRoot); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("taking lab %q down: %w", name, err)
	}
	return nil
}

// awaitEnd waits until a process has ended: a pidfd is readable then (pidfd_open(2)).
func awaitEnd(ctx context.Context, pidfd int) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 50)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("waiting for a process to end: %w", err)
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for a process to end: %w", ctx.Err())
		}
	}
}

// unmountBelow unmounts what someone mounted in the lab's directory on the host, so that nothing is
// deleted through a mount.
func unmountBelow(dir string) error {
	mounts, err := mountTable("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		point := mounts[i].point
		if point != dir && !strings.HasPrefix(point, dir+"/") {
			continue
		}
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", point, err)
		}
	}
	return nil
}

// lockDir locks the directory of a lab against other ups and downs, waiting until ctx ends, and
// makes it first if it is to be made. Closing the file unlocks it.
func lockDir(ctx context.Context, dir string, create bool) (*os.File, error) {
	for {
		if create {
			// Another lab's end may remove the root in between.
			if err := os.MkdirAll(dir, 0o700); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		f, err := os.Open(dir)
		if err != nil && !(create && errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		if err == nil {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			if err == nil && sameFile(f, dir) {
				return f, nil
			}
			f.Close()
			if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("locking %s: %w", dir, err)
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, fmt.Errorf("another drover lab up or down is at work on it: %w", err)
		}
	}
}

// sameFile says whether the locked directory is still the one at that path.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
