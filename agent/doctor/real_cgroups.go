package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where every distribution mounts the control groups.
const cgroupRoot = "/sys/fs/cgroup"

// Cgroups implements Host. It makes a group, freezes and thaws it while it is empty, and removes it.
func (Real) Cgroups() (Cgroups, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return Cgroups{}, fmt.Errorf("looking at %s: %w", cgroupRoot, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return unified()
	}
	return legacy()
}

func unified() (Cgroups, error) {
	controllers, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return Cgroups{}, fmt.Errorf("listing the controllers: %w", err)
	}
	groups := Cgroups{Version: 2, Controllers: strings.Fields(string(controllers))}
	if groups.Refusal = tryFreezer(cgroupRoot, "cgroup.freeze", "1", "0"); groups.Refusal == nil {
		groups.Controllers = append(groups.Controllers, "freezer")
	}
	slices.Sort(groups.Controllers)
	groups.Withheld = withheld(cgroupRoot, strings.Fields(string(controllers)))
	return groups, nil
}

// withheld returns the controllers that no group below that one can get. Only the root of all gives them to its children
// while processes are in it (cgroups(7), "no internal processes"); it alone has no type. Others may be a container's root.
func withheld(root string, controllers []string) []string {
	if _, err := os.Stat(filepath.Join(root, "cgroup.type")); err != nil {
		return nil
	}
	procs, _ := os.ReadFile(filepath.Join(root, "cgroup.procs"))
	given, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control"))
	if err != nil || len(bytes.TrimSpace(procs)) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(controllers), func(name string) bool {
		return slices.Contains(strings.Fields(string(given)), name)
	})
}

// legacy looks for the version 1 controllers, each mounted in a directory of its own name.
func legacy() (Cgroups, error) {
	groups := Cgroups{Version: 1}
	for _, name := range []string{"cpu", "freezer", "memory", "pids"} {
		var st unix.Statfs_t
		if unix.Statfs(filepath.Join(cgroupRoot, name), &st) == nil && st.Type == unix.CGROUP_SUPER_MAGIC {
			groups.Controllers = append(groups.Controllers, name)
		}
	}
	if len(groups.Controllers) == 0 {
		return Cgroups{}, errors.New("no control groups are mounted on " + cgroupRoot)
	}
	if slices.Contains(groups.Controllers, "freezer") {
		groups.Refusal = tryFreezer(filepath.Join(cgroupRoot, "freezer"), "freezer.state", "FROZEN", "THAWED")
	}
	return groups, nil
}

// tryFreezer makes a group below parent, writes frozen and thawed to its freezer file, and removes it.
func tryFreezer(parent, file, frozen, thawed string) (err error) {
	dir, err := os.MkdirTemp(parent, "drover-doctor-")
	if err != nil {
		return fmt.Errorf("making a control group: %w", err)
	}
	defer func() {
		// A group is removed as a directory; its files are the kernel's.
		if e := unix.Rmdir(dir); e != nil && err == nil {
			err = fmt.Errorf("removing the control group %s: %w", dir, e)
		}
	}()
	path := filepath.Join(dir, file)
	for _, want := range []string{frozen, thawed} {
		if err := os.WriteFile(path, []byte(want), 0); err != nil {
			return fmt.Errorf("writing %s to a control group's freezer: %w", want, err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading a control group's freezer: %w", err)
		}
		if got := string(bytes.TrimSpace(got)); got != want {
			return fmt.Errorf("the freezer says %s after %s was written", got, want)
		}
	}
	return nil
}
