package preflight

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// descriptor is an open file of a process.
type descriptor struct {
	fd   int
	link string // what it stands for: "/a/path", "socket:[123]", "anon_inode:[eventpoll]"
}

// maxPipes is how many pipes CRIU can dump at once (NR_PIPES_WITH_DATA in criu/include/pipes.h).
const maxPipes = 1024

// checkDescriptors looks at what a process has open, in the order of CRIU's dump_one_file (criu/files.c).
func (l *look) checkDescriptors(p *process) error {
	fds, err := numbers(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		return err
	}
	l.report.Descriptors += len(fds)
	for _, fd := range fds {
		link, err := os.Readlink(p.link(fd))
		if ended(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := l.checkDescriptor(p, descriptor{fd, link}); err != nil && !ended(err) {
			return err
		}
	}
	return nil
}

func (l *look) checkDescriptor(p *process, d descriptor) error {
	kind, rest, _ := strings.Cut(d.link, ":")
	switch {
	case strings.HasPrefix(d.link, "/"), strings.HasPrefix(d.link, "(unreachable)"):
		f, err := statFile(p.link(d.fd))
		if err != nil {
			return err
		}
		return l.checkFile(p, f, d.link, fmt.Sprintf("/proc/%d/fd/%d", p.pid, d.fd))
	case kind == "socket": // they are looked at together
		ino := bracketed(rest)
		l.note("socket", ino, p)
		if _, ok := l.ends[ino]; !ok {
			l.ends[ino] = end{p, d}
		}
	case kind == "pipe":
		return l.checkPipe(p, d, bracketed(rest))
	case kind == "pidfd":
		return l.checkPidfd(p, d)
	case kind == "anon_inode":
		return l.checkAnonymous(p, d, strings.Trim(rest, "[]"))
	case strings.HasPrefix(rest, "["):
		l.checkNamespaceFile(p, d.link)
	default:
		l.refuse(p, "let it close "+d.link, "it has %q open, of a kind that CRIU doesn't know", d.link)
	}
	return nil
}

// link is the path of a descriptor in /proc.
func (p *process) link(fd int) string { return fmt.Sprintf("/proc/%d/fd/%d", p.pid, fd) }

// fdinfo is what /proc/PID/fdinfo/FD says (proc_pid_fdinfo(5)).
func (p *process) fdinfo(fd int) ([]byte, error) {
	return os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", p.pid, fd))
}

// field finds the value of the first line "name: value".
func field(info []byte, name string) string {
	for line := range bytes.Lines(info) {
		if value, ok := strings.CutPrefix(string(line), name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// flags reads the flags of open(2) that a descriptor has.
func flags(info []byte) int64 {
	n, _ := strconv.ParseInt(field(info, "flags"), 8, 64)
	return n
}

// bracketed reads the inode number in "[123]".
func bracketed(text string) uint64 {
	n, _ := strconv.ParseUint(strings.Trim(text, "[]"), 10, 64)
	return n
}

func (l *look) checkPipe(p *process, d descriptor, ino uint64) error {
	p.container.pipes[ino] = true
	l.note("pipe", ino, p)
	info, err := p.fdinfo(d.fd)
	if err != nil {
		return err
	}
	if flags(info)&unix.O_DIRECT != 0 { // criu/pipes.c, dump_one_pipe
		l.refuse(p, "let it make its pipes without O_DIRECT", "it has a pipe in packet mode")
	}
	return nil
}

func (l *look) checkPipes(c *container) {
	if n := len(c.pipes); n > maxPipes {
		l.blame(c, "use fewer pipes, or split the container", "its processes have %d pipes, and CRIU can dump %d", n, maxPipes)
	}
}
