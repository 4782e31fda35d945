package preflight

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// container is a container whose processes are known.
type container struct {
	Container
	level      int               // of its PID namespace: which of the ids in NSpid is its own
	namespaces map[string]string // of its first process, by kind
	mounts     map[uint64]mount
	processes  []*process // those of its first process's tree, parents first, as CRIU goes through them
	pipes      map[uint64]bool
	attached   *process        // one that is attached to System V shared memory
	looked     map[mapped]bool // mapped files that have been looked at
}

// process is one process of a container.
type process struct {
	container *container
	pid       int // as this host counts
	inside    int // as the container counts
	name      string
	status    status
	parent    *process // nil for the first
	apart     bool     // in a mount namespace of its own
}

// open finds a container's processes. Those that are not in the tree of the first are refused: CRIU wouldn't dump them
// (criu/seize.c, collect_children), and they would be gone.
func (l *look) open(c Container) (*container, error) {
	first, err := readStatus(c.Init)
	if err != nil {
		return nil, fmt.Errorf("its first process, %d: %w", c.Init, err)
	}
	opened := &container{Container: c, level: len(first.pids("NSpid")) - 1, pipes: map[uint64]bool{}, looked: map[mapped]bool{}}
	if strings.HasPrefix(first["State"], "Z") && first.number("Threads") > 1 { // nothing more can be asked of it
		p, err := opened.read(c.Init)
		if err == nil {
			opened.processes = append(opened.processes, p)
		}
		return opened, err
	}
	if opened.namespaces, err = namespaces(c.Init, c.Init); err != nil {
		return nil, err
	}
	if opened.mounts, err = readMounts(c.Init); err != nil {
		return nil, err
	}
	children := map[int][]*process{}
	var all []*process
	for _, cgroup := range c.Cgroups {
		pids, err := members(cgroup)
		if err != nil {
			return nil, err
		}
		slices.Sort(pids)
		for _, pid := range slices.Compact(pids) {
			p, err := opened.read(pid)
			if ended(err) || err == nil && slices.ContainsFunc(all, func(q *process) bool { return q.pid == pid }) {
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, p)
			children[p.status.number("PPid")] = append(children[p.status.number("PPid")], p)
		}
	}
	i := slices.IndexFunc(all, func(p *process) bool { return p.pid == c.Init })
	if i < 0 {
		return nil, fmt.Errorf("its first process, %d, is in none of its cgroups", c.Init)
	}
	opened.climb(all[i], children)
	for _, p := range all {
		if !slices.Contains(opened.processes, p) {
			l.suspect(p, "end it, or wait until it has ended",
				"it was started in the container from outside, as by exec: it is no descendant of the container's first process, and would be lost")
		}
	}
	l.report.Processes += len(all)
	return opened, nil
}

// read reads what is known of a process at once.
func (c *container) read(pid int) (*process, error) {
	s, err := readStatus(pid)
	if err != nil {
		return nil, err
	}
	p := &process{container: c, pid: pid, inside: pid, name: s["Name"], status: s}
	if ids := s.pids("NSpid"); len(ids) > c.level {
		p.inside = ids[c.level]
	}
	return p, nil
}

// climb lists a process and its descendants, parents first.
func (c *container) climb(p *process, children map[int][]*process) {
	c.processes = append(c.processes, p)
	for _, child := range children[p.pid] {
		child.parent = p
		c.climb(child, children)
	}
}

// has tells whether a process is in the container's tree. One that has ended and that nobody has waited for is in no cgroup.
func (c *container) has(pid int) bool {
	for range len(c.processes) + 1 {
		if slices.ContainsFunc(c.processes, func(p *process) bool { return p.pid == pid }) {
			return true
		}
		s, err := readStatus(pid)
		if err != nil {
			return false
		}
		pid = s.number("PPid")
	}
	return false
}

// namespaceKinds are the namespaces that a process has, by their names in /proc/PID/ns.
func namespaceKinds() []string {
	return []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"}
}

// namespaces reads which namespaces a thread is in, those of kinds that the kernel has.
func namespaces(pid, tid int, kinds ...string) (map[string]string, error) {
	if len(kinds) == 0 {
		kinds = namespaceKinds()
	}
	all := map[string]string{}
	for _, kind := range kinds {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/task/%d/ns/%s", pid, tid, kind))
		if ended(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all[kind] = link
	}
	return all, nil
}
