package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The hidden commands that a lab's processes run: arguments after the executable, then "--dir" and
// the lab's directory. By these they are found again.
const (
	commandSiteInit = "site-init"
	commandRouter   = "wan-router"
	commandSiteExec = "site-exec"
)

// process is one that belongs to a lab.
type process struct {
	pid     int
	command string // commandSiteInit or commandRouter
	site    string // of a site's init
}

// processes finds the router and the inits of the lab in dir.
func processes(dir string) ([]process, error) {
	pids, err := allPIDs()
	if err != nil {
		return nil, err
	}
	var found []process
	for _, pid := range pids {
		if p, ok := identify(pid, dir); ok {
			found = append(found, p)
		}
	}
	return found, nil
}

// identify says which process of the lab in dir the pid is, if any. A zombie has no command line.
func identify(pid int, dir string) (process, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return process{}, false
	}
	args := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if len(args) < 5 || args[1] != "lab" || args[3] != "--dir" || args[4] != dir {
		return process{}, false
	}
	p := process{pid: pid, command: args[2]}
	switch {
	case p.command == commandRouter && len(args) == 5:
	case p.command == commandSiteInit && len(args) == 7 && args[5] == "--site":
		p.site = args[6]
	default:
		return process{}, false
	}
	return p, true
}

// kill kills the process unless its pid has become another's, and returns a pidfd to wait with, or
// -1 if it is gone. The caller closes it.
func (p process) kill(dir string) (pidfd int, err error) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("opening process %d: %w", p.pid, err)
	}
	if again, ok := identify(p.pid, dir); !ok || again != p {
		return -1, unix.Close(fd)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fd, fmt.Errorf("killing process %d (%s %s): %w", p.pid, p.command, p.site, err)
	}
	return fd, nil
}

// init returns the pid of a site's init.
func (l *Lab) init(site string) (int, error) {
	if _, err := l.Site(site); err != nil {
		return 0, err
	}
	found, err := processes(l.dir)
	if err != nil {
		return 0, err
	}
	for _, p := range found {
		if p.site == site {
			return p.pid, nil
		}
	}
	return 0, fmt.Errorf("site %s of lab %q has died: run drover lab down --name %s", site, l.plan.Name, l.plan.Name)
}

// hostPID translates a pid of the PID namespace of init.
func hostPID(init, inner int) (int, error) {
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
	if err != nil {
		return 0, fmt.Errorf("reading the PID namespace of %d: %w", init, err)
	}
	pids, err := allPIDs()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || s != space {
			continue
		}
		if innermostPID(pid) == inner {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("process %d of the PID namespace of %d is gone", inner, init)
}

// innermostPID is the pid of a process in its own namespace (the last NSpid of /proc/PID/status,
// proc_pid_status(5)), or 0.
func innermostPID(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			fields := bytes.Fields(rest)
			inner, err := strconv.Atoi(string(fields[len(fields)-1]))
			if err != nil {
				return 0
			}
			return inner
		}
	}
	return 0
}

func allPIDs() ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}
