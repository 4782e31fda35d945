package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchies are the mount points of the cgroup hierarchies, v1 and v2, each once.
type hierarchies []string

// cgroupRoot is below which they are mounted everywhere.
const cgroupRoot = "/sys/fs/cgroup"

// openHierarchies finds the hierarchies of the caller's mount namespace.
func openHierarchies() (hierarchies, error) {
	mounts, err := mountTable("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points hierarchies
	seen := map[string]bool{}
	for _, m := range mounts {
		below := m.point == cgroupRoot || strings.HasPrefix(m.point, cgroupRoot+"/")
		if (m.fstype == "cgroup" || m.fstype == "cgroup2") && below && !seen[m.device] {
			seen[m.device] = true
			points = append(points, m.point)
		}
	}
	return points, nil
}

// mount is a line of mountinfo (proc_pid_mountinfo(5)).
type mount struct{ device, root, point, fstype, source string }

// octal undoes the kernel's escapes of the characters that separate fields and lines.
var octal = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func mountTable(path string) ([]mount, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the mounts: %w", err)
	}
	defer f.Close()
	var mounts []mount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		left, right, _ := strings.Cut(lines.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 2 {
			return nil, fmt.Errorf("reading the mounts: unexpected line %q", lines.Text())
		}
		mounts = append(mounts, mount{device: l[2], root: l[3], point: octal.Replace(l[4]), fstype: r[0], source: octal.Replace(r[1])})
	}
	return mounts, lines.Err()
}

// make makes the cgroup at path, and those above it, in every hierarchy, fit for processes.
func (h hierarchies) make(path string) error {
	if len(h) == 0 {
		return errors.New("no cgroup hierarchy is mounted: mount one at " + cgroupRoot)
	}
	for _, point := range h {
		dir := point
		for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			parent := dir
			dir = filepath.Join(dir, name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("making cgroup %s: %w", dir, err)
			}
			if err := inheritCpuset(parent, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// inheritCpuset fills in what a cpuset of cgroup v1 needs before it takes a process
// (Documentation/admin-guide/cgroup-v1/cpusets.rst).
func inheritCpuset(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || len(strings.TrimSpace(string(value))) > 0 {
			continue
		}
		if value, err = os.ReadFile(filepath.Join(parent, name)); err != nil {
			continue // the root of cgroup v2 has none, and needs none
		}
		if len(strings.TrimSpace(string(value))) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0); err != nil {
			return fmt.Errorf("setting %s of %s: %w", name, dir, err)
		}
	}
	return nil
}

// delegate gives the children of the cgroup at path all controllers that it has, in v2. It must hold no process itself
// (cgroups(7), "no internal processes"). What can't be given, pods will miss, and their own agent says so.
func (h hierarchies) delegate(path string) {
	for _, point := range h {
		dir := filepath.Join(point, path)
		controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			continue
		}
		for name := range strings.FieldsSeq(string(controllers)) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0)
		}
	}
}

// join moves this process into the cgroup at path in every hierarchy.
func (h hierarchies) join(path string) error {
	for _, point := range h {
		procs := filepath.Join(point, path, "cgroup.procs")
		if err := os.WriteFile(procs, []byte("0"), 0); err != nil {
			return fmt.Errorf("joining cgroup %s: %w", procs, err)
		}
	}
	return nil
}

// cgroupTree returns the cgroup at path in every hierarchy where it is, and all below it, children
// first.
func cgroupTree(path string) ([]string, error) {
	points, err := openHierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, point := range points {
		err := filepath.WalkDir(filepath.Join(point, path), func(dir string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone while we looked
			}
			if err == nil && entry.IsDir() {
				dirs = append(dirs, dir)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("listing cgroups: %w", err)
		}
	}
	slices.Reverse(dirs)
	return dirs, nil
}

// destroyCgroup kills everything in the cgroup at path and below it, frozen or not, and removes it
// from every hierarchy. It tries until ctx ends.
func destroyCgroup(ctx context.Context, path string) error {
	for {
		dirs, err := cgroupTree(path)
		if err != nil || len(dirs) == 0 {
			return err
		}
		for _, dir := range dirs {
			killCgroup(dir)
		}
		for _, dir := range dirs { // only now: what is thawed is dead before it runs
			thawCgroup(dir)
		}
		var stuck error
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				stuck = err
			}
		}
		if stuck == nil {
			continue
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("removing cgroup %s: %w", path, stuck)
		}
	}
}

// killCgroup sends SIGKILL to all processes of one cgroup. Pids are read and signalled in one go;
// that one of them ends and its number is given away in between is possible and very improbable.
func killCgroup(dir string) {
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return
	}
	for _, field := range strings.Fields(string(procs)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

func thawCgroup(dir string) {
	for name, value := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			_ = os.WriteFile(path, []byte(value), 0)
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
