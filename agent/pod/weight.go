package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// weigh gives the pod's cgroup the share of the processors that its containers request together, against the other pods: what
// runc gives a container counts within the pod alone. It is for when runc has made that cgroup.
func (r *Runtime) weigh(ctx context.Context, s Spec) error {
	shares := shares(s.Manifest.Needs().CPU)
	if r.cgroups.driver == Systemd {
		slice := r.cgroups.slice(s.UID)
		out, err := exec.CommandContext(ctx, "systemctl", "set-property", "--runtime", slice, fmt.Sprintf("CPUWeight=%d", weight(shares))).CombinedOutput()
		if err != nil {
			return fmt.Errorf("weighing %s: %w: %s", slice, err, lastLine(string(out)))
		}
		return nil
	}
	if err := setWeight(hierarchies, unified(hierarchies), r.cgroups.pod(s.UID), shares); err != nil {
		return fmt.Errorf("weighing the pod's cgroup: %w", err)
	}
	return nil
}

// weight is the measure of cgroup v2 for shares of v1, as runc has it: 2 to 262144 becomes 1 to 10000.
func weight(shares int64) int64 { return 1 + (shares-minShares)*9999/(maxShares-minShares) }

func setWeight(hierarchies string, v2 bool, cgroup string, shares int64) error {
	if v2 {
		return set(filepath.Join(hierarchies, cgroup, "cpu.weight"), weight(shares))
	}
	return set(filepath.Join(hierarchies, "cpu", cgroup, "cpu.shares"), shares)
}

// liftQuota lets a cgroup have all the processor time that there is.
func liftQuota(hierarchies string, v2 bool, cgroup string) error {
	if v2 {
		return set(filepath.Join(hierarchies, cgroup, "cpu.max"), "max")
	}
	return set(filepath.Join(hierarchies, "cpu", cgroup, "cpu.cfs_quota_us"), -1)
}

// set does nothing where the kernel has no such file.
func set(path string, value any) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(f, value)
	return errors.Join(err, f.Close())
}
