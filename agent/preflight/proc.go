package preflight

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ended tells whether an error of reading /proc only says that the process or the descriptor is gone.
func ended(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// status is what /proc/PID/status says, by field (proc_pid_status(5)).
type status map[string]string

func readStatus(pid int) (status, error) {
	return readStatusOf(pid, pid)
}

// readStatusOf reads the status of a thread.
func readStatusOf(pid, tid int) (status, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", pid, tid))
	if err != nil {
		return nil, err
	}
	s := status{}
	for line := range bytes.Lines(text) {
		if name, value, ok := strings.Cut(string(line), ":"); ok {
			s[name] = strings.TrimSpace(value)
		}
	}
	if len(s) == 0 {
		return nil, unix.ESRCH // a process that ends shows an empty file
	}
	return s, nil
}

func (s status) number(name string) int {
	n, _ := strconv.Atoi(s[name])
	return n
}

// bytes reads a field such as "RssAnon: 12 kB".
func (s status) bytes(name string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(s[name], " kB"), 10, 64)
	return n << 10
}

// pids reads a field such as NSpid: the process's id in each PID namespace, from that of /proc inwards.
func (s status) pids(name string) []int {
	var pids []int
	for _, word := range strings.Fields(s[name]) {
		pid, _ := strconv.Atoi(word)
		pids = append(pids, pid)
	}
	return pids
}

// stat is what /proc/PID/task/TID/stat says of a thread (proc_pid_stat(5)).
type stat struct {
	name   string
	state  byte
	flags  uint64
	policy int
}

// Places of fields in stat, counted behind the name.
const (
	statState  = 0
	statFlags  = 6
	statPolicy = 38
)

func readStat(pid, tid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
	if err != nil {
		return stat{}, err
	}
	begin, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return stat{}, unix.ESRCH
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) <= statPolicy {
		return stat{}, fmt.Errorf("/proc/%d/task/%d/stat has only %d fields", pid, tid, len(fields))
	}
	s := stat{name: string(text[begin+1 : end]), state: fields[statState][0]}
	s.flags, _ = strconv.ParseUint(fields[statFlags], 10, 64)
	s.policy, _ = strconv.Atoi(fields[statPolicy])
	return s, nil
}

// numbers lists a directory of /proc whose entries are numbers: threads, descriptors.
func numbers(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			all = append(all, n)
		}
	}
	return all, nil
}

// members lists the processes of a cgroup and of those below it.
func members(cgroup string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(cgroup, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			if errors.Is(err, fs.ErrNotExist) && path != cgroup {
				return nil // removed meanwhile
			}
			return err
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) && path != cgroup {
			return nil // threaded: its processes are listed above; or removed meanwhile
		}
		if err != nil {
			return err
		}
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 0 { // 0 is one of a PID namespace out of sight
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the processes of cgroup %s: %w", cgroup, err)
	}
	return pids, nil
}

// file is what statx tells of an open or mapped file.
type file struct {
	mode       uint16
	nlink      uint32
	size       int64 // on the disk, in bytes
	dev, rdev  uint64
	ino, mount uint64
}

// statFile follows a link of /proc to what it stands for.
func statFile(link string) (file, error) { return statAt(link, 0) }

// statAt asks no server, so that a file system that hangs can't hang it.
func statAt(link string, flags int) (file, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, link, flags|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return file{}, &fs.PathError{Op: "statx", Path: link, Err: err}
	}
	return file{
		mode: st.Mode, nlink: st.Nlink, size: int64(st.Blocks) * 512,
		dev: unix.Mkdev(st.Dev_major, st.Dev_minor), rdev: unix.Mkdev(st.Rdev_major, st.Rdev_minor), ino: st.Ino, mount: st.Mnt_id,
	}, nil
}

func (f file) is(kind uint16) bool { return f.mode&unix.S_IFMT == kind }
