package pod

import (
	"context"
	"errors"
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

// monitors is the cgroup for the monitors of containers, or "". They outlive the agent, so that they can't stay in its own, which
// systemd takes for the agent's unit: it complains of what is left there, and `systemctl kill` ends it.
func (c cgroups) monitors() string {
	if c.driver == Systemd || !unified(hierarchies) {
		return ""
	}
	return filepath.Join(hierarchies, c.parent, "_monitors") // no pod's id begins so
}

// makeMonitors makes the cgroup of the monitors.
func (c cgroups) makeMonitors() error {
	if dir := c.monitors(); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the monitors' cgroup: %w", err)
		}
	}
	return nil
}

// apart makes a process begin a session of its own, in that cgroup if it is not "". done is to be called once it has started.
func apart(cgroup string) (attr *unix.SysProcAttr, done func(), err error) {
	if cgroup == "" {
		return &unix.SysProcAttr{Setsid: true}, func() {}, nil
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the monitors' cgroup: %w", err)
	}
	return &unix.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())}, func() { dir.Close() }, nil
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
	c := cgroups{driver, parent}
	if driver == Systemd {
		if slice := filepath.Base(parent); slice == ownSlice {
			return dropUnit(ctx, slice, parent)
		}
		return nil
	}
	if dir := c.monitors(); dir != "" {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("removing cgroup %s: %w", dir, err)
		}
	}
	return rmCgroups(parent)
}

// ownSlice is the slice that nobody else uses.
const ownSlice = "drover.slice"
