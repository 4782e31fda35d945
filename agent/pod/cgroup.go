package pod

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CgroupDriver says who makes the cgroups of containers.
type CgroupDriver string

// The drivers, as other container engines call them.
const (
	Cgroupfs CgroupDriver = "cgroupfs" // the OCI runtime makes directories
	Systemd  CgroupDriver = "systemd"  // the OCI runtime asks systemd for slices and scopes
)

// cgroups says where the cgroups of containers are, from the root of the hierarchies.
type cgroups struct {
	driver CgroupDriver
	parent string
}

func (c cgroups) check() error {
	switch {
	case !filepath.IsAbs(c.parent):
		return fmt.Errorf("the cgroup parent %q is not an absolute path", c.parent)
	case c.driver == Systemd && filepath.Ext(c.parent) != ".slice":
		return fmt.Errorf("the cgroup parent %q is not a slice", c.parent)
	case c.driver != Systemd && c.driver != Cgroupfs:
		return fmt.Errorf("%q is not a cgroup driver", c.driver)
	}
	return nil
}

// reserved are characters that a pod's id can't have: '.' ends it in names of containers, '-' divides the names of slices.
func (c cgroups) reserved() string {
	if c.driver == Systemd {
		return ".-"
	}
	return "."
}

// pod is the cgroup that holds those of a pod's containers and nothing else.
func (c cgroups) pod(uid string) string {
	if c.driver == Systemd {
		return filepath.Join(c.parent, c.slice(uid))
	}
	return filepath.Join(c.parent, uid)
}

func (c cgroups) container(uid, name string) string {
	if c.driver == Systemd {
		return filepath.Join(c.pod(uid), "drover-"+uid+"-"+name+".scope")
	}
	return filepath.Join(c.pod(uid), name)
}

// slice is systemd's unit of a pod; its name tells where it lies (systemd.slice(5)).
func (c cgroups) slice(uid string) string {
	return strings.TrimSuffix(filepath.Base(c.parent), ".slice") + "-" + uid + ".slice"
}

// forRuntime is a container's cgroup as an OCI configuration has it; runc's docs/systemd.md.
func (c cgroups) forRuntime(uid, name string) string {
	if c.driver == Systemd {
		return c.slice(uid) + ":drover:" + uid + "-" + name
	}
	return c.container(uid, name)
}

// runtimeOptions are runc's global ones.
func (c cgroups) runtimeOptions() []string {
	if c.driver == Systemd {
		return []string{"--systemd-cgroup"}
	}
	return nil
}

// apart is a command that starts the one behind it where it outlives the agent, by exec: monitors of containers, and CRIU.
// They can't stay in the agent's cgroup, which systemd takes for its unit: `systemctl kill` ends what is in it, and a restart
// complains of what it finds there. Where systemd makes the cgroups each gets a scope, beside the pods' slices.
//
// The process moves itself: clone3(2) can start it in a cgroup, but since Linux 6.14 kills it at once if anybody has ever
// written to cgroup.kill of that one, or of the caller's.
func (c cgroups) apart() []string {
	if c.driver == Systemd {
		return []string{"systemd-run", "--scope", "--quiet", "--collect", "--slice=" + filepath.Base(c.parent), "--description=outlives the drover agent", "--"}
	}
	command := []string{"/bin/sh", "-ec", `while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"`, "apart"}
	for _, dir := range c.monitors() {
		command = append(command, filepath.Join(dir, "cgroup.procs"))
	}
	return append(command, "--")
}

// monitors is the name of the cgroup for what outlives the agent, beside those of pods: no pod's id begins so.
const monitors = "_monitors"

// monitors are the cgroups for what outlives the agent: in each of the hierarchies by which systemd tells the processes of
// units, whether it is the one of version 2, or those beside the controllers of version 1.
func (c cgroups) monitors() []string {
	if c.driver == Systemd {
		return nil
	}
	var dirs []string
	for _, h := range []struct {
		root string
		kind int64
	}{
		{hierarchies, unix.CGROUP2_SUPER_MAGIC},
		{filepath.Join(hierarchies, "unified"), unix.CGROUP2_SUPER_MAGIC},
		{filepath.Join(hierarchies, "systemd"), unix.CGROUP_SUPER_MAGIC},
	} {
		var fs unix.Statfs_t
		if unix.Statfs(h.root, &fs) == nil && fs.Type == h.kind && (h.root == hierarchies || !unified(hierarchies)) {
			dirs = append(dirs, filepath.Join(h.root, c.parent, monitors))
		}
	}
	return dirs
}

// makeMonitors makes those cgroups.
func (c cgroups) makeMonitors() error {
	for _, dir := range c.monitors() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the monitors' cgroup: %w", err)
		}
	}
	return nil
}

// removePod removes what is left of a pod's cgroup once its containers are gone.
func (c cgroups) removePod(ctx context.Context, uid string) error {
	if c.driver == Systemd {
		if err := dropUnit(ctx, c.slice(uid), c.pod(uid)); err != nil {
			return err
		}
	}
	return rmCgroups(c.pod(uid))
}

// dropUnit stops a slice, and forgets what it was set to. One that isn't there is fine.
func dropUnit(ctx context.Context, slice, cgroup string) error {
	for _, step := range []struct {
		command string
		traces  []string // by which it is known that there is anything to do
	}{
		{"stop", []string{filepath.Join(hierarchies, cgroup), filepath.Join(hierarchies, "systemd", cgroup)}},
		{"revert", []string{filepath.Join("/run/systemd/system.control", slice+".d")}}, // what set-property leaves: systemctl(1)
	} {
		if !slices.ContainsFunc(step.traces, exists) {
			continue
		}
		if out, err := exec.CommandContext(ctx, "systemctl", step.command, slice).CombinedOutput(); err != nil {
			return fmt.Errorf("systemctl %s %s: %w: %s", step.command, slice, err, lastLine(string(out)))
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// RemoveCgroups removes the parent of all pods' cgroups, if there is no pod left. A slice that isn't drover's stays.
func RemoveCgroups(ctx context.Context, driver CgroupDriver, parent string) error {
	if driver == Systemd {
		if slice := filepath.Base(parent); slice == ownSlice {
			return dropUnit(ctx, slice, parent)
		}
		return nil
	}
	if err := rmCgroups(filepath.Join(parent, monitors)); err != nil {
		return err
	}
	return rmCgroups(parent)
}

// ownSlice is the slice that nobody else uses.
const ownSlice = "drover.slice"
