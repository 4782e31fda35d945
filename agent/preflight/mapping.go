package preflight

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// mapped is a file that is mapped, as /proc/PID/maps names it.
type mapped struct{ dev, ino, path string }

// checkMappings looks at what a process maps (criu/proc_parse.c, parse_smaps). Files that several processes of the container
// map are looked at once.
func (l *look) checkMappings(p *process) error {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", p.pid))
	if err != nil {
		return err
	}
	defer maps.Close()
	count := 0
	lines := bufio.NewScanner(maps)
	for ; lines.Scan(); count++ {
		// 7f00-7f01 rw-s 00000000 08:01 42                         /a/path
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 {
			continue // anonymous
		}
		m := mapped{fields[3], fields[4], strings.Join(fields[5:], " ")}
		if err := l.checkMapping(p, fields[0], m); err != nil && !ended(err) {
			return err
		}
	}
	l.report.MaxMappings = max(l.report.MaxMappings, count)
	return lines.Err()
}

func (l *look) checkMapping(p *process, addresses string, m mapped) error {
	if strings.HasPrefix(m.path, "/SYSV") { // as the kernel names it (ipc/shm.c)
		p.container.attached = p
	}
	switch {
	case m.path == "[uprobes]":
		l.refuse(p, "stop the tracer that put probes into the program", "it has breakpoints of a tracer (uprobes)")
		return nil
	case strings.HasPrefix(m.path, "anon_inode:"):
		l.checkAnonymousMapping(p, strings.Trim(strings.TrimPrefix(m.path, "anon_inode:"), "[]"))
		return nil
	case m.ino == "0", strings.HasPrefix(m.path, "socket:"), p.container.looked[m]: // rings of packet sockets are dumped
		return nil
	}
	p.container.looked[m] = true
	link := fmt.Sprintf("/proc/%d/map_files/%s", p.pid, addresses)
	f, err := statFile(link)
	if err != nil {
		return err
	}
	return l.checkFile(p, f, m.path, link)
}

// checkAnonymousMapping refuses what has no file but asynchronous I/O's ring, which has a path.
func (l *look) checkAnonymousMapping(p *process, name string) {
	for _, u := range undumped {
		if strings.HasPrefix(name, u.name) {
			l.refuse(p, u.cure, "%s", u.reason)
			return
		}
	}
	l.refuse(p, "let it unmap the object", "it maps an object of the kind %q, which CRIU doesn't know", name)
}
