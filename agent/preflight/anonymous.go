package preflight

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	reasonRing = "it uses io_uring"
	cureRing   = "switch io_uring off in the program's configuration (Node.js: UV_USE_IO_URING=0; PostgreSQL: io_method=worker; MariaDB: innodb_use_native_aio=0)"
)

// dumped are the anonymous inodes that CRIU dumps as they are (criu/files.c, dump_one_file).
func dumped(name string) bool {
	return name == "eventfd" || name == "signalfd"
}

// undumped says what other anonymous inodes are, by the beginning of the kernel's name for them, and what to do.
var undumped = []struct{ name, reason, cure string }{
	{"io_uring", reasonRing, cureRing},
	{"userfaultfd", "it handles page faults by userfaultfd", "switch that off in the program"},
	{"perf_event", "it counts performance events", "stop the profiler"},
	{"bpf", "it has BPF programs or maps open", "run it without BPF"},
	{"btf", "it has BPF programs or maps open", "run it without BPF"},
	{"seccomp notify", "it decides on system calls of other processes (seccomp user notification)", "run it without that supervisor"},
	{"landlock-ruleset", "it has a Landlock ruleset open", "let it close the ruleset when it has enforced it"},
	{"kvm", "it runs a virtual machine", "move the machine by its own means"},
	{"fscontext", "it is about to mount a file system", "let it finish, or close what it has begun"},
	{"vfio", "it drives a device of the host", "run it without the device"},
	{"iommufd", "it drives a device of the host", "run it without the device"},
	{"sync_file", "it uses a GPU", "run it without the GPU"},
	{"dmabuf", "it uses a GPU", "run it without the GPU"},
}

// checkAnonymous looks at a descriptor that is no file.
func (l *look) checkAnonymous(p *process, d descriptor, name string) error {
	switch name {
	case "eventpoll":
		return l.checkPoll(p, d)
	case "timerfd":
		return l.checkTimer(p, d)
	case "inotify":
		return l.checkInotify(p, d)
	case "fanotify":
		return l.checkFanotify(p, d)
	case "pidfd": // before Linux 6.9
		return l.checkPidfd(p, d)
	}
	if dumped(name) {
		return nil
	}
	for _, u := range undumped {
		if strings.HasPrefix(name, u.name) {
			l.refuse(p, u.cure, "%s", u.reason)
			return nil
		}
	}
	l.refuse(p, "let it close the descriptor", "it has a descriptor of the kind %q, which CRIU doesn't know", name)
	return nil
}

// checkPidfd looks at a descriptor of a process, which has to be one of the container's (criu/pidfd.c, dump_one_pidfd).
func (l *look) checkPidfd(p *process, d descriptor) error {
	info, err := p.fdinfo(d.fd)
	if err != nil {
		return err
	}
	const pidfdThread = unix.O_EXCL // PIDFD_THREAD in linux/pidfd.h
	if flags(info)&pidfdThread != 0 {
		l.refuse(p, "let it use descriptors of processes, not of threads", "it has a descriptor of a thread (PIDFD_THREAD)")
	}
	pid, err := strconv.Atoi(field(info, "Pid"))
	if err != nil || pid == -1 { // it has ended
		return nil
	}
	if p.container.has(pid) {
		return nil
	}
	l.suspect(p, "let it close the descriptor", "it has a descriptor of a process outside of its container: %s", l.nameOf(pid))
	return nil
}

// checkTimer looks at a timer's clock (criu/include/timerfd.h, verify_timerfd).
func (l *look) checkTimer(p *process, d descriptor) error {
	info, err := p.fdinfo(d.fd)
	if err != nil {
		return err
	}
	clock, err := strconv.Atoi(field(info, "clockid"))
	if err == nil && clock != unix.CLOCK_REALTIME && clock != unix.CLOCK_MONOTONIC && clock != unix.CLOCK_BOOTTIME {
		l.refuse(p, "let it use timers that don't wake the host", "it has a timer of an alarm clock")
	}
	return nil
}
