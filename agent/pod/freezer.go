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

// Freezer is the cgroup that holds all processes of a pod, in the hierarchy that can freeze them.
//
// Its files: Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst in the kernel's source.
type Freezer struct {
	dir string
	v2  bool
}

// newFreezer finds the cgroup of that path below the root of the hierarchies.
func newFreezer(hierarchies, cgroup string) Freezer {
	if unified(hierarchies) {
		return Freezer{dir: filepath.Join(hierarchies, cgroup), v2: true}
	}
	return Freezer{dir: filepath.Join(hierarchies, "freezer", cgroup)}
}

// unified tells cgroup v2 from v1 and from the hybrid of both, whose freezer is v1's.
func unified(hierarchies string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(hierarchies, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// Path is the cgroup's directory.
func (f Freezer) Path() string { return f.dir }

// Freeze stops every process of the pod and returns when none runs any more, typically in less than a millisecond. An
// error leaves the pod asked to freeze: thaw it or freeze it again. It may be called on a frozen pod.
func (f Freezer) Freeze(ctx context.Context) error {
	ask, want := "freezer.state", "FROZEN"
	if f.v2 {
		ask, want = "cgroup.freeze", "1"
	}
	path := filepath.Join(f.dir, ask)
	// cgroup v1 can get stuck in FREEZING when a task was just forking: asking again cures it. Or when one of several
	// threads was in execve: it waits for the others to die, uninterruptibly, and they are frozen already (de_thread in
	// fs/exec.c in the kernel's source); only a thaw lets them.
	const attempts, thawEvery = 50, 4
	for attempt := range attempts {
		if attempt%thawEvery == thawEvery-1 && !f.v2 {
			if err := f.Thaw(); err != nil {
				return err
			}
			pause(time.Millisecond)
		}
		if err := os.WriteFile(path, []byte(want), 0); err != nil {
			return fmt.Errorf("freezing the pod: %w", err)
		}
		for deadline := time.Now().Add(time.Duration(1+attempt) * time.Millisecond); ; {
			frozen, err := f.Frozen()
			if err != nil || frozen {
				return err
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("freezing the pod: %w", err)
			}
			if time.Now().After(deadline) {
				break
			}
			pause(50 * time.Microsecond)
		}
	}
	return fmt.Errorf("freezing the pod: %s doesn't reach %s", path, want)
}

// Thaw lets the pod run again. It may be called on a pod that runs.
func (f Freezer) Thaw() error {
	ask, want := "freezer.state", "THAWED"
	if f.v2 {
		ask, want = "cgroup.freeze", "0"
	}
	if err := os.WriteFile(filepath.Join(f.dir, ask), []byte(want), 0); err != nil {
		return fmt.Errorf("thawing the pod: %w", err)
	}
	return nil
}

// Frozen tells whether every process of the pod stands still on the freezer's order.
func (f Freezer) Frozen() (bool, error) {
	name := "freezer.state"
	if f.v2 {
		name = "cgroup.events"
	}
	state, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		return false, fmt.Errorf("reading the pod's freezer: %w", err)
	}
	if f.v2 {
		return strings.Contains(string(state), "frozen 1"), nil
	}
	return strings.TrimSpace(string(state)) == "FROZEN", nil
}

// kill sends SIGKILL to every process in the cgroup and tells how many there were. On cgroup v1 frozen tasks die when they
// are thawed, and run no instruction of their own in between.
func (f Freezer) kill() (int, error) {
	if f.v2 { // since Linux 5.14; below it, one by one
		pids, err := f.pids()
		if err != nil || len(pids) == 0 {
			return 0, err
		}
		if err := os.WriteFile(filepath.Join(f.dir, "cgroup.kill"), []byte("1"), 0); err == nil {
			return len(pids), nil
		}
	}
	pids, err := f.pids()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("killing process %d of the pod: %w", pid, err)
		}
	}
	return len(pids), nil
}

// pids lists the processes in the cgroup; none if the cgroup is gone.
func (f Freezer) pids() ([]int, error) {
	list, err := os.ReadFile(filepath.Join(f.dir, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the pod's processes: %w", err)
	}
	var pids []int
	for _, line := range strings.Fields(string(list)) {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err != nil {
			return nil, fmt.Errorf("listing the pod's processes: %w", err)
		}
		if pid > 0 { // 0: a process of a PID namespace that we can't see
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// pause gives the processor away for a time too short for the runtime's timers (about 1 ms).
func pause(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&t, nil)
}
