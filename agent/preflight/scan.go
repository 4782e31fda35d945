package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What may pass by itself (a process that is just being made, a connection that is just being accepted) is refused only if
// it is there that often, one time after the other. Meanwhile something else may come up: so often it is looked at most.
const (
	enough   = 3
	attempts = 6
	pause    = 100 * time.Millisecond
)

// Scan looks at a pod. The error says that it could not be looked at.
func Scan(ctx context.Context, t Target) (Report, error) {
	begun := time.Now()
	var l *look
	for attempt := range attempts {
		next, err := take(ctx, t)
		if err != nil {
			return Report{}, fmt.Errorf("looking at the pod's processes: %w", err)
		}
		if l != nil {
			next.age(l.findings)
		}
		l = next
		if attempt == attempts-1 || !slices.ContainsFunc(l.findings, finding.open) {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return Report{}, ctx.Err()
		}
	}
	l.report.Refusals = refusals(slices.DeleteFunc(l.findings, finding.open))
	l.report.Took = time.Since(begun)
	return l.report, nil
}

// finding is something that keeps a process from moving.
type finding struct {
	container *container
	process   *process // nil if none is to blame
	reason    string
	cure      string
	passing   bool   // it may be over in a moment
	of        string // what may be over, where the reason doesn't tell it from others of the process
	seen      int    // how often, one time after the other
}

func (f finding) same(other finding) bool {
	if f.reason != other.reason || f.of != other.of || f.container.Name != other.container.Name || (f.process == nil) != (other.process == nil) {
		return false
	}
	return f.process == nil || f.process.pid == other.process.pid
}

// open tells whether it may be over in a moment.
func (f finding) open() bool { return f.passing && f.seen < enough }

// age counts how often what was found now has been found, one time after the other.
func (l *look) age(before []finding) {
	for i, f := range l.findings {
		if at := slices.IndexFunc(before, f.same); at >= 0 {
			l.findings[i].seen += before[at].seen
		}
	}
}

// refusals says once what is true of several processes of a container.
func refusals(findings []finding) []Refusal {
	var all []Refusal
	for _, f := range findings {
		i := slices.IndexFunc(all, func(r Refusal) bool {
			return r.Container == f.container.Name && r.Reason == f.reason && (r.Process == "") == (f.process == nil)
		})
		switch {
		case i < 0 && f.process == nil:
			all = append(all, Refusal{Container: f.container.Name, Reason: f.reason, Cure: f.cure})
		case i < 0:
			p := f.process
			all = append(all, Refusal{Container: f.container.Name, Process: p.name, PID: p.inside, HostPID: p.pid, Reason: f.reason, Cure: f.cure})
		case f.process != nil && all[i].PID != f.process.inside && !slices.Contains(all[i].Others, f.process.inside):
			all[i].Others = append(all[i].Others, f.process.inside)
		}
	}
	return all
}

// look is one look at a pod, and what it found.
type look struct {
	containers []*container
	shmem      uint64                // device of what the kernel keeps in memory: memfd, shared anonymous mappings
	objects    map[object][]*process // who has what can be shared
	ends       map[uint64]end        // sockets, by inode
	watches    []watch
	counted    map[uint64]bool // file systems in memory, by device
	netns      string
	findings   []finding
	report     Report
}

// object is something that processes share, by its kind and inode.
type object struct {
	kind string // "socket", "pipe", "memory", "segment"
	ino  uint64
}

// take looks once.
func take(ctx context.Context, t Target) (*look, error) {
	shmem, err := shmemDevice()
	if err != nil {
		return nil, err
	}
	l := &look{shmem: shmem, objects: map[object][]*process{}, ends: map[uint64]end{}, counted: map[uint64]bool{}, netns: t.NetNS}
	for _, c := range t.Containers {
		opened, err := l.open(c)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", c.Name, err)
		}
		l.containers = append(l.containers, opened)
	}
	if len(l.containers) == 0 {
		return l, nil
	}
	for _, c := range l.containers {
		l.checkMounts(c)
		for _, p := range c.processes {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			for _, check := range []func(*process) error{l.checkTask, l.checkNamespaces, l.checkDescriptors, l.checkMappings} {
				if err := check(p); err != nil && !ended(err) {
					return nil, fmt.Errorf("container %s: %s: %w", c.Name, p.name, err)
				}
			}
		}
		l.checkPipes(c)
	}
	l.checkSharing()
	l.checkAttached()
	l.checkWatches()
	if err := l.checkNetwork(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(l.findings, l.order)
	return l, nil
}

// shmemDevice asks the kernel for the device number of its internal tmpfs, by a file there.
func shmemDevice() (uint64, error) {
	fd, err := unix.MemfdCreate("preflight", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("making a file in memory: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Dev, nil
}

// refuse notes that a process can't move.
func (l *look) refuse(p *process, cure, reason string, args ...any) {
	l.findings = append(l.findings, finding{container: p.container, process: p, reason: fmt.Sprintf(reason, args...), cure: cure, seen: 1})
}

// suspect notes what keeps a process from moving if it stays. The reason must not change from look to look.
func (l *look) suspect(p *process, cure, reason string, args ...any) {
	l.suspectOf(p, "", cure, reason, args...)
}

// suspectOf is suspect, where the reason is the same for things that come and go.
func (l *look) suspectOf(p *process, of, cure, reason string, args ...any) {
	l.findings = append(l.findings, finding{container: p.container, process: p, reason: fmt.Sprintf(reason, args...), cure: cure, passing: true, of: of, seen: 1})
}

// blame notes that a container can't move, whoever made it so.
func (l *look) blame(c *container, cure, reason string, args ...any) {
	l.findings = append(l.findings, finding{container: c, reason: fmt.Sprintf(reason, args...), cure: cure, seen: 1})
}

// note remembers who has an object.
func (l *look) note(kind string, ino uint64, p *process) {
	key := object{kind, ino}
	if !slices.Contains(l.objects[key], p) {
		l.objects[key] = append(l.objects[key], p)
	}
}

// checkSharing finds what containers have in common: CRIU dumps each by itself, so that each would get one of its own.
func (l *look) checkSharing() {
	for key, holders := range l.objects {
		first := holders[0]
		i := slices.IndexFunc(holders, func(p *process) bool { return p.container != first.container })
		what, ok := map[string]string{"socket": "a socket", "pipe": "a pipe", "memory": "memory"}[key.kind]
		if i < 0 || !ok { // of segments, none can be shared
			continue
		}
		other := holders[i]
		l.refuse(other, "let containers talk over TCP or files of a volume",
			"it shares %s with %s (pid %d) of container %s", what, first.name, first.inside, first.container.Name)
	}
}

// checkAttached finds a second container that is attached to System V shared memory. CRIU brings segments back together with
// the processes that are attached to them, and knows those of one container only (criu/ipc_ns.c, criu/shmem.c).
func (l *look) checkAttached() {
	var first *process
	for _, c := range l.containers {
		switch {
		case c.attached == nil:
		case first == nil:
			first = c.attached
		default:
			l.refuse(c.attached, "let containers share files in /dev/shm instead",
				"it is attached to System V shared memory, as is %s (pid %d) of container %s", first.name, first.inside, first.container.Name)
		}
	}
}

// order sorts findings by container, process and reason.
func (l *look) order(a, b finding) int {
	pid := func(f finding) int {
		if f.process == nil {
			return 0
		}
		return f.process.inside
	}
	return cmp.Or(
		slices.Index(l.containers, a.container)-slices.Index(l.containers, b.container), pid(a)-pid(b), strings.Compare(a.reason, b.reason),
	)
}
