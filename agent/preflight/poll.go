package preflight

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// checkPoll looks at what an epoll set polls. The kernel keeps a file in the set that its process has closed, as long as
// another process has it open: CRIU has nothing to restore that from (criu/eventpoll.c, flush_eventpoll_dinfo_queue).
func (l *look) checkPoll(p *process, d descriptor) error {
	info, err := p.fdinfo(d.fd)
	if err != nil {
		return err
	}
	seen := map[int]int{} // how often a number is in the set: it may have been used again
	for line := range strings.Lines(string(info)) {
		var fd int
		if n, _ := fmt.Sscanf(line, "tfd: %d", &fd); n != 1 {
			continue
		}
		nth := seen[fd]
		seen[fd]++
		if !polls(p.pid, d.fd, fd, nth, fd) && !p.pollsAnother(d.fd, fd, nth) && !p.inherited(d) {
			l.suspect(p, "restart the container; let the program remove a file from its epoll set before it closes it",
				"it polls a file (descriptor %d) that it has closed and another process has open", fd)
		}
	}
	return nil
}

// polls tells whether the nth file that has been put as number fd into an epoll set is the one that a process has open.
func polls(pid, set, fd, nth, open int) bool {
	const kcmpEpoll = 7 // KCMP_EPOLL_TFD of kcmp(2)
	slot := [3]uint32{uint32(set), uint32(fd), uint32(nth)}
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(pid), kcmpEpoll, uintptr(open), uintptr(unsafe.Pointer(&slot)), 0)
	return errno == 0 && r == 0
}

// pollsAnother tells whether the process has that file open by another number.
func (p *process) pollsAnother(set, fd, nth int) bool {
	fds, err := numbers(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		return true // it has ended
	}
	for _, open := range fds {
		if polls(p.pid, set, fd, nth, open) {
			return true
		}
	}
	return false
}

// inherited tells whether a file is that of an ancestor, from whom CRIU dumps it.
func (p *process) inherited(d descriptor) bool {
	const kcmpFile = 0 // KCMP_FILE of kcmp(2)
	for a := p.parent; a != nil; a = a.parent {
		r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a.pid), uintptr(p.pid), kcmpFile, uintptr(d.fd), uintptr(d.fd), 0)
		if errno == 0 && r == 0 {
			return true
		}
	}
	return false
}
