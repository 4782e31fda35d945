package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Freezer is the pod's cgroup.
func (r *Runtime) Freezer(uid string) Freezer { return newFreezer(hierarchies, r.cgroup(uid)) }

// Freeze stops the pod. See Freezer.Freeze.
func (r *Runtime) Freeze(ctx context.Context, uid string) error { return r.Freezer(uid).Freeze(ctx) }

// Thaw lets the pod go on. See Freezer.Thaw.
func (r *Runtime) Thaw(_ context.Context, uid string) error { return r.Freezer(uid).Thaw() }

// Stop ends the pod as Kubernetes does: SIGTERM to its first process, its grace period, then Kill. A frozen pod can't hear
// SIGTERM and is killed at once.
func (r *Runtime) Stop(ctx context.Context, uid string) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	status, err := r.Status(uid)
	if err != nil {
		return err
	}
	if grace := s.Manifest.GracePeriod(); status.Phase == Running && grace > 0 {
		if err := unix.Kill(status.Pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stopping pod %s: %w", s.Name, err)
		}
		limit, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if err := gone(limit, status.Pid); ctx.Err() != nil {
			return fmt.Errorf("stopping pod %s: %w", s.Name, err)
		}
	}
	return r.Kill(ctx, uid)
}

// Kill ends the pod at once, also a frozen one or what a failed restore has left: no instruction of it runs any more. It
// returns when its processes, its monitor and runc's state are gone; bundle, log and exit code stay. Done again it does
// nothing.
func (r *Runtime) Kill(ctx context.Context, uid string) error {
	if err := r.discard(ctx, uid); err != nil {
		return fmt.Errorf("killing pod %s: %w", uid, err)
	}
	return nil
}

// Remove kills the pod and deletes all of it that is here: bundle, log, exit code, shared memory. Its root file system and
// its network namespace are the caller's. Done again it does nothing.
func (r *Runtime) Remove(ctx context.Context, uid string) error {
	p := r.paths(uid)
	if err := r.Kill(ctx, uid); err != nil {
		return err
	}
	if err := unmount(p.shm()); err != nil {
		return fmt.Errorf("removing pod %s: %w", uid, err)
	}
	for _, path := range []string{p.run, p.exit, p.bundle} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing pod %s: %w", uid, err)
		}
	}
	return nil
}

// discard makes sure that no process, mount, cgroup or runc state of the pod is left.
func (r *Runtime) discard(ctx context.Context, uid string) error {
	p := r.paths(uid)
	conmon, _ := readPid(p.conmonPid())
	if err := r.slay(ctx, uid); err != nil {
		return err
	}
	if ours(conmon, uid) { // it ends by itself once the container has, and writes the exit code
		limit, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := gone(limit, conmon)
		cancel()
		if err != nil && ctx.Err() == nil && ours(conmon, uid) {
			_ = unix.Kill(conmon, unix.SIGKILL)
			err = gone(ctx, conmon)
		}
		if err != nil {
			return fmt.Errorf("waiting for its monitor to end: %w", err)
		}
	}
	if _, err := os.Stat(p.runcState()); err == nil {
		if _, err := os.Stat(p.exit); errors.Is(err, os.ErrNotExist) { // its monitor had died before it: nobody else will say
			if err := os.WriteFile(p.exit, []byte(fmt.Sprint(128+int(unix.SIGKILL))), 0o600); err != nil {
				return err
			}
		}
	}
	// A restore that failed leaves the root file system mounted in runc's own directory, and runc would delete through it.
	if err := unmount(p.criuRoot()); err != nil {
		return err
	}
	if _, err := os.Stat(p.runc); err == nil {
		if err := r.run(ctx, "delete", "--force", uid); err != nil {
			if _, err := os.Stat(p.runcState()); err == nil {
				return err
			}
		}
		if err := os.RemoveAll(p.runc); err != nil { // a restore that failed early leaves a directory without a state
			return err
		}
	}
	if err := r.removeCgroups(uid); err != nil {
		return err
	}
	for _, path := range []string{p.pid(), p.conmonPid(), p.runcLog()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// slay kills whatever runs in the pod's cgroup until nothing does. The signal is sent before a frozen pod is thawed, so that
// nothing of it runs again.
func (r *Runtime) slay(ctx context.Context, uid string) error {
	freezer := r.Freezer(uid)
	const rounds = 2000
	for range rounds {
		left, err := freezer.kill()
		if err != nil || left == 0 {
			return err
		}
		if err := freezer.Thaw(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		pause(time.Millisecond)
	}
	return fmt.Errorf("its processes in %s don't die", freezer.Path())
}

// removeCgroups deletes the pod's cgroups that runc has not, in every hierarchy.
func (r *Runtime) removeCgroups(uid string) error {
	dirs := []string{filepath.Join(hierarchies, r.cgroup(uid))}
	entries, err := os.ReadDir(hierarchies)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(hierarchies, e.Name(), r.cgroup(uid)))
	}
	for _, dir := range dirs {
		for deadline := time.Now().Add(time.Second); ; pause(time.Millisecond) {
			err := unix.Rmdir(dir)
			if errors.Is(err, unix.EBUSY) && time.Now().Before(deadline) { // the last task is still being reaped
				continue
			}
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
				return fmt.Errorf("removing cgroup %s: %w", dir, err)
			}
			break
		}
	}
	return nil
}

// ours tells whether that process is the pod's monitor, and not another that has got its id since.
func ours(pid int, uid string) bool {
	if !alive(pid) {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), "\x00--cid\x00"+uid+"\x00")
}

// gone waits for the end of a process that need not be a child of ours.
func gone(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return fmt.Errorf("watching process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	const look = 20 // milliseconds between two looks at the context
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, look)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watching process %d: %w", pid, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// unmount takes away whatever is mounted there, and does nothing where nothing is.
func unmount(path string) error {
	for range 16 {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmounting %s: %w", path, err)
		}
	}
	return fmt.Errorf("unmounting %s: there is always one more", path)
}
