package preflight

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ioWorker marks the kernel's threads of an io_uring within a process (PF_IO_WORKER in linux/sched.h).
const ioWorker = 0x10

// Scheduling policies (sched(7)) that CRIU can't give back: it restores priority and niceness (criu/cr-dump.c, dump_sched_info).
const (
	schedDeadline = 6
	schedExt      = 7
)

// checkTask looks at a process and its threads.
func (l *look) checkTask(p *process) error {
	s := p.status
	// Private memory is dumped for each process, also what a child still has in common with its parent.
	l.report.Memory += s.bytes("RssAnon") + s.bytes("VmSwap") + s.bytes("HugetlbPages")
	l.report.HugePages += s.bytes("HugetlbPages")
	if tracer := s.number("TracerPid"); tracer != 0 {
		// compel/src/lib/infect.c, compel_wait_task: a process has one tracer, and CRIU must be it.
		l.refuse(p, "detach the debugger", "it is traced by %s", l.nameOf(tracer))
	}
	if p.ended() {
		if s.number("Threads") > 1 { // criu/seize.c, collect_threads
			l.suspect(p, "restart the container", "its first thread has ended and others go on")
		}
		return nil
	}
	if p.parent != nil {
		l.checkTables(p)
	}
	threads, err := numbers(fmt.Sprintf("/proc/%d/task", p.pid))
	if err != nil {
		return err
	}
	slices.Sort(threads)
	for _, tid := range threads {
		if err := l.checkThread(p, tid); err != nil && !ended(err) {
			return err
		}
	}
	return nil
}

func (l *look) checkThread(p *process, tid int) error {
	s, err := readStat(p.pid, tid)
	if err != nil {
		return err
	}
	l.countPID(p, tid)
	switch {
	case s.flags&ioWorker != 0: // criu/seize.c: it takes them for threads of the process, and can't stop them
		l.refuse(p, cureRing, reasonRing)
	case s.state == 'D': // what no freezer stops, the dump waits for in vain; it is the same wait if it hasn't run meanwhile
		l.suspectOf(p, switches(p.pid, tid), "find out what it waits for: a disk or a server of files that doesn't answer",
			"it waits in the kernel and can't be stopped")
	case s.policy == schedDeadline:
		l.refuse(p, "let it run without SCHED_DEADLINE", "it has the scheduling policy SCHED_DEADLINE, which can't be restored")
	case s.policy == schedExt:
		l.refuse(p, "let it run without SCHED_EXT", "it has the scheduling policy SCHED_EXT, which can't be restored")
	}
	if tid == p.pid {
		return nil
	}
	// CRIU asks for the namespaces of a process's first thread only (criu/namespaces.c, dump_task_ns_ids).
	leader, err := namespaces(p.pid, p.pid, "net", "mnt", "ipc", "uts")
	if err != nil {
		return err
	}
	own, err := namespaces(p.pid, tid, "net", "mnt", "ipc", "uts")
	if err != nil {
		return err
	}
	for _, kind := range []string{"ipc", "mnt", "net", "uts"} {
		if own[kind] != "" && leader[kind] != "" && own[kind] != leader[kind] {
			l.refuse(p, "let no thread leave the namespaces of its process", "a thread of it is in a %s namespace of its own", namespaceName(kind))
		}
	}
	return nil
}

// switches is how often a thread has waited for something.
func switches(pid, tid int) string {
	s, err := readStatusOf(pid, tid)
	if err != nil {
		return ""
	}
	return fmt.Sprint(tid, " ", s["voluntary_ctxt_switches"])
}

// countPID notes how high the ids of the container are: the target must allow them.
func (l *look) countPID(p *process, tid int) {
	inside := p.inside
	if tid != p.pid {
		s, err := readStatusOf(p.pid, tid)
		if err != nil {
			return
		}
		if ids := s.pids("NSpid"); len(ids) > p.container.level {
			inside = ids[p.container.level]
		}
	}
	l.report.MaxPID = max(l.report.MaxPID, inside)
}

// ended tells whether a process has ended and nobody has waited for it, or its first thread has.
func (p *process) ended() bool { return strings.HasPrefix(p.status["State"], "Z") }

// tables are what processes may share besides files, by the numbers of kcmp(2). CRIU restores only whole threads and tables of
// descriptors that a child has from its parent (criu/cr-dump.c, dump_task_kobj_ids).
var tables = []struct {
	kind int
	name string
}{{1, "memory"}, {3, "directories (CLONE_FS)"}, {4, "signal handlers (CLONE_SIGHAND)"}}

func (l *look) checkTables(p *process) {
	for _, t := range tables {
		if same, err := compare(t.kind, p.parent.pid, p.pid); err == nil && same {
			l.suspect(p, "let it be a thread or a process of its own", "it shares its %s with its parent without being a thread of it", t.name)
			return // vfork shares all of them
		}
	}
}

// compare tells whether two processes have the same of something (kcmp(2)).
func compare(kind, a, b int) (same bool, err error) {
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), uintptr(kind), 0, 0, 0)
	if errno != 0 {
		return false, errno
	}
	return r == 0, nil
}

// nameOf names a process of the pod or of the host.
func (l *look) nameOf(pid int) string {
	for _, c := range l.containers {
		for _, p := range c.processes {
			if p.pid == pid {
				return fmt.Sprintf("%s (pid %d)", p.name, p.inside)
			}
		}
	}
	if s, err := readStatus(pid); err == nil {
		return fmt.Sprintf("%s (pid %d of the host)", s["Name"], pid)
	}
	return fmt.Sprintf("a process of the host (pid %d)", pid)
}
