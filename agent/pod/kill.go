package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Kill ends the pod at once, also a frozen one or what a failed restore has left: no instruction of it runs any more. It
// returns when its processes, its monitors and runc's state are gone; bundles, logs and exit codes stay. Done again it does
// nothing.
func (r *Runtime) Kill(ctx context.Context, uid string) error {
	containers, err := r.known(uid)
	if err != nil {
		return fmt.Errorf("killing pod %s: %w", uid, err)
	}
	if err := r.unfence(uid, containers); err != nil {
		return fmt.Errorf("killing pod %s: %w", uid, err)
	}
	var errs []error
	for _, name := range containers {
		if err := r.discard(ctx, uid, name); err != nil {
			errs = append(errs, fmt.Errorf("killing container %s of pod %s: %w", name, uid, err))
		}
	}
	return errors.Join(errs...)
}

// unfence lifts the freeze of the pod as a whole, in which its processes would not die, also one that they have not all come to.
// Each has its signal before, so that none of them runs again.
func (r *Runtime) unfence(uid string, containers []string) error {
	whole := newFreezer(hierarchies, r.cgroups.pod(uid))
	if !exists(whole.dir) {
		return nil
	}
	for _, name := range containers {
		if _, err := r.Freezer(uid, name).kill(); err != nil {
			return err
		}
	}
	if err := whole.Thaw(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// slay kills whatever runs in a container's cgroup until nothing does. The signal is sent before a frozen container is thawed,
// so that nothing of it runs again.
func slay(ctx context.Context, freezer Freezer) error {
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
