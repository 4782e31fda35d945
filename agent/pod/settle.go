package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// A restore happens in the containers' cgroups: under a limit of a twentieth of a processor it takes four times as long, and it
// needs memory of its own. So limits come after it. A dump runs some code in the containers' processes, which has to wait for
// its turn when the pod has little weight on a busy node: so it gets more before.

// Settled tells whether the pod's containers have their limits: not from Hurry or Restore on until Settle.
func (r *Runtime) Settled(uid string) bool {
	_, err := os.Stat(r.pod(uid).unsettled())
	return errors.Is(err, os.ErrNotExist)
}

// Hurry frees a pod that is about to be dumped from what limits its processor time.
func (r *Runtime) Hurry(uid string) error {
	status, err := r.Status(uid)
	if err == nil {
		err = os.WriteFile(r.pod(uid).unsettled(), nil, 0o600)
	}
	if err == nil {
		err = setWeight(hierarchies, unified(hierarchies), r.cgroups.pod(uid), maxShares)
	}
	for _, c := range status.Live() {
		cgroup := r.cgroups.container(uid, c.Name)
		err = errors.Join(err, setWeight(hierarchies, unified(hierarchies), cgroup, maxShares), liftQuota(hierarchies, unified(hierarchies), cgroup))
	}
	if err != nil {
		return fmt.Errorf("hurrying pod %s: %w", uid, err)
	}
	return nil
}

// Settle gives a pod's containers their limits after a Hurry, or a restore once they run; it waits for that. Done again it does
// nothing.
func (r *Runtime) Settle(ctx context.Context, uid string) error {
	if r.Settled(uid) {
		return nil
	}
	s, err := r.spec(uid)
	if err == nil {
		err = r.settle(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("limiting pod %s: %w", uid, err)
	}
	return nil
}

func (r *Runtime) settle(ctx context.Context, s Spec) error {
	if err := r.writeBundles(s, true); err != nil {
		return err
	}
	for _, c := range s.Containers {
		runs, err := r.restored(ctx, s, c.Name)
		if err == nil && runs {
			err = r.limit(ctx, s, c)
		}
		if err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	if err := r.weigh(ctx, s); err != nil {
		return err
	}
	return os.Remove(r.pod(s.UID).unsettled())
}

// restored waits until runc has noted the container that it restores, and tells whether it runs.
func (r *Runtime) restored(ctx context.Context, s Spec, container string) (bool, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		pids, err := r.Freezer(s.UID, container).pids()
		if err != nil || len(pids) == 0 {
			return false, err
		}
		if status, err := r.containerStatus(s, container); err != nil || status.Pid != 0 {
			return err == nil, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}

// limit sets the limits of a container that runs.
func (r *Runtime) limit(ctx context.Context, s Spec, c Container) error {
	wanted, err := s.wanted(c)
	if err != nil {
		return err
	}
	limits := resources(wanted, limitsSwap(hierarchies))
	limits.Devices = nil
	file := r.container(s.UID, c.Name).limits()
	if err := writeJSON(file, limits); err != nil {
		return err
	}
	return r.run(ctx, "update", "--resources", file, containerID(s.UID, c.Name))
}
