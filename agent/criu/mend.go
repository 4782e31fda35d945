package criu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mend takes back what a CRIU that was killed while it dumped has left in the processes of a cgroup, which stand still:
//
//   - TCP sockets in repair mode. A process that goes on so can't read from its connections (net/ipv4/tcp.c,
//     tcp_recvmsg_locked, in the kernel's source).
//   - Names that it lent to files which have lost theirs (criu/files-reg.c, create_link_remap).
//
// What it can't take back is a system call that CRIU was just having a process make, by code that it had written over that of the
// process: that one crashes (compel/src/lib/infect.c, compel_execute_syscall). Code that is there whole finds its own way out.
func mend(cgroup string) error {
	list, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, field := range strings.Fields(string(list)) {
		pid, err := strconv.Atoi(field)
		if err == nil && pid > 0 {
			err = mendProcess(pid)
		}
		if err != nil {
			return fmt.Errorf("taking back what CRIU has left in process %s: %w", field, err)
		}
	}
	return nil
}

func mendProcess(pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(process)
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		if _, alive := startTime(pid); !alive {
			return nil
		}
		return err
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		to, err := os.Readlink(file)
		if err != nil { // closed since
			continue
		}
		if strings.HasPrefix(to, "socket:") {
			err = unrepair(process, e.Name())
		} else if name, deleted := strings.CutSuffix(to, " (deleted)"); deleted && filepath.IsAbs(name) {
			err = unlend(file, filepath.Join(fmt.Sprintf("/proc/%d/root", pid), filepath.Dir(name)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unrepair does nothing to a socket of another kind, or in no such mode.
func unrepair(process int, descriptor string) error {
	number, err := strconv.Atoi(descriptor)
	if err != nil {
		return err
	}
	socket, err := unix.PidfdGetfd(process, number, 0)
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ESRCH) { // closed since
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if on, err := unix.GetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_REPAIR); err != nil || on == 0 {
		return nil
	}
	// As CRIU does when it lets go: the kernel then asks the peer for its window.
	return unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_REPAIR, 0)
}

// unlend removes the names that CRIU gave to an open file in that directory, as a rule one or none.
func unlend(file, dir string) error {
	lent, err := filepath.Glob(filepath.Join(dir, "link_remap.[0-9]*"))
	if err != nil || len(lent) == 0 {
		return err
	}
	open, err := os.Stat(file)
	if err != nil {
		return nil // closed since
	}
	for _, name := range lent {
		found, err := os.Lstat(name)
		if err == nil && os.SameFile(open, found) {
			err = os.Remove(name)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
