package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Freezer is the cgroup of a container.
func (r *Runtime) Freezer(uid, container string) Freezer {
	return newFreezer(hierarchies, r.cgroups.container(uid, container))
}

// Freeze stops every container of the pod that has a process. See Freezer.Freeze.
//
// Each has its own order to stand still, not their common parent: CRIU lifts that of the container that it dumps for a moment,
// and couldn't lift another's.
func (r *Runtime) Freeze(ctx context.Context, uid string) error {
	return r.eachLive(uid, func(f Freezer) error { return f.Freeze(ctx) })
}

// Thaw lets the pod go on. See Freezer.Thaw.
func (r *Runtime) Thaw(_ context.Context, uid string) error {
	return r.eachLive(uid, Freezer.Thaw)
}

func (r *Runtime) eachLive(uid string, do func(Freezer) error) error {
	status, err := r.Status(uid)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range status.Live() {
		if err := do(r.Freezer(uid, c.Name)); err != nil {
			errs = append(errs, fmt.Errorf("container %s: %w", c.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Stop ends the pod as Kubernetes does: its stop signal to the first process of each container, its grace period, then Kill.
// A frozen pod can't hear the signal and is killed at once. grace below 0 means the manifest's.
func (r *Runtime) Stop(ctx context.Context, uid string, grace time.Duration) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	status, err := r.Status(uid)
	if err != nil {
		return err
	}
	if grace < 0 {
		grace = s.Manifest.GracePeriod()
	}
	if status.Phase == Running && grace > 0 {
		limit, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		for _, c := range status.Live() {
			if err := unix.Kill(c.Pid, s.container(c.Name).stopSignal()); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("stopping pod %s: %w", s.Name, err)
			}
		}
		for _, c := range status.Live() {
			if err := gone(limit, c.Pid); ctx.Err() != nil {
				return fmt.Errorf("stopping pod %s: %w", s.Name, err)
			}
		}
	}
	return r.Kill(ctx, uid)
}

// StopContainer ends one container: its stop signal, then after grace (below 0: the manifest's) by force.
func (r *Runtime) StopContainer(ctx context.Context, uid, container string, grace time.Duration) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	status, err := r.containerStatus(s, container)
	if err != nil {
		return err
	}
	if grace < 0 {
		grace = s.Manifest.GracePeriod()
	}
	if status.Phase == Running && status.Pid != 0 && grace > 0 {
		limit, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if err := unix.Kill(status.Pid, s.container(container).stopSignal()); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stopping container %s: %w", container, err)
		}
		if err := gone(limit, status.Pid); ctx.Err() != nil {
			return fmt.Errorf("stopping container %s: %w", container, err)
		}
	}
	return r.discard(ctx, uid, container)
}

// container is that of a name, the zero Container if there is none.
func (s Spec) container(name string) Container {
	for _, c := range s.Containers {
		if c.Name == name {
			return c
		}
	}
	return Container{}
}

// stopSignal is what asks the container to end: its image's, else SIGTERM.
func (c Container) stopSignal() unix.Signal {
	name := strings.ToUpper(c.Image.StopSignal)
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n)
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if signal := unix.SignalNum(name); signal != 0 {
		return signal
	}
	return unix.SIGTERM
}

// known are the containers that the pod may have anything of: a pod that was half created has no spec.
func (r *Runtime) known(uid string) ([]string, error) {
	entries, err := os.ReadDir(r.pod(uid).bundles)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Remove kills the pod and deletes all of it that is here: bundles, logs, exit codes, shared memory, namespaces. Its root file
// systems, its volumes on disk and its network namespace are the caller's. Done again it does nothing.
func (r *Runtime) Remove(ctx context.Context, uid string) error {
	if err := r.remove(ctx, uid); err != nil {
		return fmt.Errorf("removing pod %s: %w", uid, err)
	}
	return nil
}

func (r *Runtime) remove(ctx context.Context, uid string) error {
	if err := r.Kill(ctx, uid); err != nil {
		return err
	}
	p := r.pod(uid)
	containers, err := r.known(uid)
	if err != nil {
		return err
	}
	if err := removeNamespaces(p); err != nil {
		return err
	}
	mounts, err := filepath.Glob(p.memory("*"))
	if err != nil {
		return err
	}
	parts, err := filepath.Glob(p.subPath("*", "*"))
	if err != nil {
		return err
	}
	for _, at := range append(append(mounts, parts...), p.shm()) { // a removal would go into them
		if err := unmount(at); err != nil {
			return err
		}
	}
	if err := r.cgroups.removePod(ctx, uid); err != nil {
		return err
	}
	paths := []string{p.run}
	for _, name := range containers {
		paths = append(paths, r.container(uid, name).exit)
	}
	for _, path := range append(paths, p.bundles) { // last: by them the containers are known
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// RemoveAll removes every pod that is here, also what was only half created. It goes on after a failure. Done again it does
// nothing.
func (r *Runtime) RemoveAll(ctx context.Context) error {
	entries, err := os.ReadDir(r.bundles())
	if err != nil {
		return fmt.Errorf("removing all pods: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, r.Remove(ctx, e.Name()))
	}
	return errors.Join(errs...)
}

// discard makes sure that no process, mount, cgroup or runc state of a container is left.
func (r *Runtime) discard(ctx context.Context, uid, container string) error {
	p, id := r.container(uid, container), containerID(uid, container)
	conmon, _ := readPid(p.conmonPid())
	if err := slay(ctx, r.Freezer(uid, container)); err != nil {
		return err
	}
	if ours(conmon, id) { // it ends by itself once the container has, and writes the exit code
		limit, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := gone(limit, conmon)
		cancel()
		if err != nil && ctx.Err() == nil && ours(conmon, id) {
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
		if err := r.run(ctx, "delete", "--force", id); err != nil && !errors.Is(err, exec.ErrNotFound) {
			if _, err := os.Stat(p.runcState()); err == nil {
				return err
			}
		}
		if err := os.RemoveAll(p.runc); err != nil { // a restore that failed early leaves a directory without a state
			return err
		}
	}
	if err := rmCgroups(r.cgroups.container(uid, container)); err != nil {
		return err
	}
	for _, path := range []string{p.pid(), p.conmonPid(), p.runcLog()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// rmCgroups deletes a cgroup, where runc has not, in every hierarchy.
func rmCgroups(cgroup string) error {
	dirs := []string{filepath.Join(hierarchies, cgroup)}
	entries, err := os.ReadDir(hierarchies)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(hierarchies, e.Name(), cgroup))
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

// ours tells whether that process is the container's monitor, and not another that has got its id since.
func ours(pid int, id string) bool {
	if !alive(pid) {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), "\x00--cid\x00"+id+"\x00")
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
