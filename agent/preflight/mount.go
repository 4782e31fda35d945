package preflight

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one mount of a container (proc_pid_mountinfo(5)).
type mount struct {
	id, parent     uint64
	dev            uint64
	root, point    string
	kind           string // type of its file system
	shared, master string // peer groups, "" if in none
}

func readMounts(pid int) (map[uint64]mount, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, err
	}
	mounts := map[uint64]mount{}
	for line := range strings.Lines(string(text)) {
		m, err := parseMount(line)
		if err != nil {
			return nil, err
		}
		mounts[m.id] = m
	}
	return mounts, nil
}

// parseMount reads "36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw".
func parseMount(line string) (mount, error) {
	before, after, ok := strings.Cut(line, " - ")
	fields, kind := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 6 || len(kind) < 1 {
		return mount{}, fmt.Errorf("mountinfo: %q", line)
	}
	m := mount{root: unescape(fields[3]), point: unescape(fields[4]), kind: kind[0]}
	var major, minor uint32
	if _, err := fmt.Sscanf(fields[2], "%d:%d", &major, &minor); err != nil {
		return mount{}, fmt.Errorf("mountinfo: %q: %w", line, err)
	}
	m.dev = unix.Mkdev(major, minor)
	m.id, _ = strconv.ParseUint(fields[0], 10, 64)
	m.parent, _ = strconv.ParseUint(fields[1], 10, 64)
	for _, tag := range fields[6:] {
		if group, ok := strings.CutPrefix(tag, "shared:"); ok {
			m.shared = group
		}
		if group, ok := strings.CutPrefix(tag, "master:"); ok {
			m.master = group
		}
	}
	return m, nil
}

// unescape undoes the kernel's escapes of space, tab, newline and backslash.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// remade are the file systems that CRIU mounts anew and, of those in memory, fills again (criu/filesystems.c).
func remade(kind string) bool {
	return slices.Contains([]string{"proc", "sysfs", "devpts", "tmpfs", "mqueue", "cgroup", "cgroup2"}, kind)
}

// checkMounts finds mounts that a move doesn't carry (criu/mount.c, validate_mounts and resolve_shared_mounts).
func (l *look) checkMounts(c *container) {
	for _, m := range c.sortedMounts() {
		if slices.Contains(c.Mounts, m.point) {
			l.countMemory(c, m)
			continue
		}
		const cure = "unmount it, or make it a volume of the pod"
		switch {
		case c.carried(m):
		case !remade(m.kind):
			l.blame(c, cure, "somebody has mounted %s (%s) in it", m.point, m.kind)
		case m.root != "/" && !c.any(func(o mount) bool { return o.dev == m.dev && o.root == "/" }):
			l.blame(c, cure, "somebody has mounted %s in it, which is a part of a file system outside", m.point)
		default:
			l.countMemory(c, m)
		}
		if m.master != "" && !c.any(func(o mount) bool { return o.shared == m.master }) && !c.carried(m) {
			l.blame(c, "mount it private (mount --make-private)", "what is mounted on the host below %s appears in it too", m.point)
		}
	}
}

// sortedMounts lists mounts in the order in which they were made.
func (c *container) sortedMounts() []mount {
	var all []mount
	for _, m := range c.mounts {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b mount) int { return int(a.id) - int(b.id) })
	return all
}

// carried tells whether a mount is the root, or shows a part of the root or of what is carried.
func (c *container) carried(m mount) bool {
	return m.point == "/" || c.any(func(o mount) bool {
		return o.dev == m.dev && within(m.root, o.root) && (o.point == "/" || slices.Contains(c.Mounts, o.point))
	})
}

// within tells whether a path is another one, or lies below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func (c *container) any(is func(mount) bool) bool {
	for _, m := range c.mounts {
		if is(m) {
			return true
		}
	}
	return false
}

// countMemory counts what the files of a file system in memory take, which travels with the memory. Containers may share it.
func (l *look) countMemory(c *container, m mount) {
	if m.kind != "tmpfs" || l.counted[m.dev] {
		return
	}
	l.counted[m.dev] = true
	var st unix.Statfs_t
	if err := unix.Statfs(fmt.Sprintf("/proc/%d/root%s", c.Init, m.point), &st); err == nil {
		l.report.Memory += int64(st.Blocks-st.Bfree) * st.Bsize
	}
}
