package criu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// slay kills all of the restore: what has been restored, CRIU and the gate, which are in the pod's cgroup, and the monitor
// with runc. The sockets of the restored processes are in repair mode, which lets them go without a packet.
func (r *Restore) slay(ctx context.Context) error {
	monitor, err := r.openMonitor()
	if err != nil {
		return err
	}
	if monitor >= 0 {
		defer unix.Close(monitor)
	}
	const rounds = 2000 // of a millisecond
	for round := range rounds {
		left, err := killCgroup(r.options.Cgroup)
		if err != nil {
			return err
		}
		if left == 0 {
			if monitor < 0 || readable(monitor) {
				return nil
			}
			if round > rounds/4 { // it doesn't notice; runc, its child, dies with it
				_ = unix.PidfdSendSignal(monitor, unix.SIGKILL, nil, 0)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		_, _ = unix.Poll(nil, 1)
	}
	return fmt.Errorf("the processes in %s don't die", r.options.Cgroup)
}

// killCgroup sends SIGKILL to whatever is in a cgroup and tells how much that was.
func killCgroup(dir string) (left int, err error) {
	list, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, field := range strings.Fields(string(list)) {
		var pid int
		if _, err := fmt.Sscan(field, &pid); err != nil || pid <= 0 {
			continue
		}
		left++
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return left, fmt.Errorf("killing process %d: %w", pid, err)
		}
	}
	return left, nil
}

// sweep removes what a CRIU that was killed has left: mounts in its work directory, and in /tmp an empty directory whose name
// stands in its log.
func (r *Restore) sweep() error {
	yards, err := filepath.Glob(r.path(".criu.*"))
	if err != nil {
		return err
	}
	for _, yard := range yards { // unmount first: a removal would go through the mount
		if err := unix.Unmount(yard, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", yard, err)
		}
		if err := os.Remove(yard); err != nil {
			return err
		}
	}
	log, err := os.Open(r.path(restoreLog))
	if err != nil {
		return nil // CRIU didn't come far enough to have one
	}
	defer log.Close()
	const early = 8 << 20 // bytes within which the name stands
	head, err := io.ReadAll(io.LimitReader(log, early))
	if err != nil {
		return err
	}
	if dir := regexp.MustCompile(`/tmp/\.criu\.mntns\.[A-Za-z0-9]{6}`).Find(head); dir != nil {
		if err := os.Remove(string(dir)); err != nil && !errors.Is(err, os.ErrNotExist) { // no more than an empty directory
			return err
		}
	}
	return nil
}
