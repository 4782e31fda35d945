package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
)

// Whole is the freezer of the pod's own cgroup, above those of its containers. Its cgroup is made if it isn't there, so that it
// can be frozen, or be frozen already, before the first container is started.
func (r *Runtime) Whole(ctx context.Context, uid string) (Freezer, error) {
	f := newFreezer(hierarchies, r.cgroups.pod(uid))
	if exists(f.dir) {
		return f, nil
	}
	if r.cgroups.driver == Systemd && f.v2 { // whoever makes a slice's cgroup behind systemd's back sees it vanish
		slice := r.cgroups.slice(uid)
		if out, err := exec.CommandContext(ctx, "systemctl", "start", slice).CombinedOutput(); err != nil {
			return f, fmt.Errorf("making the cgroup of pod %s: systemctl start %s: %w: %s", uid, slice, err, lastLine(string(out)))
		}
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return f, fmt.Errorf("making the cgroup of pod %s: %w", uid, err)
	}
	return f, nil
}

// WholeFrozen says whether the pod stands still as a whole, whatever was asked of its containers. A pod without a cgroup doesn't.
func (r *Runtime) WholeFrozen(uid string) (bool, error) {
	frozen, err := newFreezer(hierarchies, r.cgroups.pod(uid)).Frozen()
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return frozen, err
}

// Apart is a command that starts the one behind it where it outlives the agent, by exec. properties are those of its unit,
// where it becomes one of systemd's: systemd.directives(7).
func (r *Runtime) Apart(properties ...string) []string {
	command := r.cgroups.apart()
	if r.cgroups.driver != Systemd {
		return command
	}
	end := len(command) - 1 // "--"
	command = slices.Clone(command[:end])
	for _, p := range properties {
		command = append(command, "--property="+p)
	}
	return append(command, "--")
}
