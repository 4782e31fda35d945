package preflight

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// searchFor bounds how long a container's files are looked through for those that are watched.
const searchFor = 2 * time.Second

// hinted tells whether CRIU itself looks there for a watched file that the kernel doesn't open by its handle (criu/irmap.c).
func hinted(path string) bool {
	return slices.ContainsFunc([]string{
		"/etc", "/var/spool", "/var/log", "/usr/share/dbus-1/services", "/usr/share/dbus-1/system-services",
		"/var/lib/polkit-1/localauthority", "/usr/share/polkit-1/actions", "/lib/udev", "/no-such-path",
	}, func(dir string) bool { return within(path, dir) }) || path == "/"
}

// openAll opens watched files by their handles, as CRIU does at first. It returns those that have a path so, and those that
// have to be searched for.
func (c *container) openAll(watches []watch) (found, wanted map[node]bool) {
	found, wanted = map[node]bool{}, map[node]bool{}
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", c.Init), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return found, wanted // it has ended
	}
	defer unix.Close(root)
	for _, w := range watches {
		opened := false
		for _, m := range c.sortedMounts() {
			if m.dev != w.node.dev {
				continue
			}
			path, ok := pathByHandle(root, m, w)
			opened = opened || ok
			if path != "" {
				found[w.node] = true
				break
			}
		}
		// A file in memory has another inode at the target, and CRIU searches for none that it could open.
		if !found[w.node] && !(opened && c.any(func(m mount) bool { return m.dev == w.node.dev && m.kind == "tmpfs" })) {
			wanted[w.node] = true
		}
	}
	return found, wanted
}

// pathByHandle opens a file by its handle. ok says that this is possible; path is "" if none leads there.
func pathByHandle(root int, m mount, w watch) (path string, ok bool) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	at, err := unix.Openat2(root, m.point, &how)
	if err != nil {
		return "", false
	}
	defer unix.Close(at)
	fd, err := unix.OpenByHandleAt(at, unix.NewFileHandle(w.kind, w.handle), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", false
	}
	defer unix.Close(fd)
	if path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil {
		return "", true
	}
	how = unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	again, err := unix.Openat2(root, path, &how)
	if err != nil {
		return "", true
	}
	defer unix.Close(again)
	var st unix.Stat_t
	if err := unix.Fstat(again, &st); err != nil || st.Ino != w.node.ino {
		return "", true
	}
	return path, true
}

// search looks for files in all of the container's root file system: among the directories at first, from the top, since
// they are few and mostly what is watched.
func (c *container) search(wanted map[node]bool) map[node]string {
	found := map[node]string{}
	s := search{root: fmt.Sprintf("/proc/%d/root/", c.Init), deadline: time.Now().Add(searchFor), wanted: wanted, found: found}
	if len(wanted) == 0 {
		return found
	}
	dirs := s.directories()
	for _, dir := range dirs {
		if s.over() {
			break
		}
		entries, _ := os.ReadDir(s.root + dir)
		for _, e := range entries {
			if !e.IsDir() {
				_, _ = s.look(filepath.Join(dir, e.Name()))
			}
		}
	}
	return found
}

// search is one search for files.
type search struct {
	root     string
	deadline time.Time
	wanted   map[node]bool
	found    map[node]string
}

func (s *search) over() bool { return len(s.found) == len(s.wanted) || time.Now().After(s.deadline) }

// look compares a file with what is wanted.
func (s *search) look(path string) (file, error) {
	f, err := statAt(s.root+path, unix.AT_SYMLINK_NOFOLLOW)
	if n := (node{f.dev, f.ino}); err == nil && s.wanted[n] {
		if _, ok := s.found[n]; !ok {
			s.found[n] = filepath.Join("/", path)
		}
	}
	return f, err
}

// directories looks at all directories of the file systems that something is wanted of, and lists them.
func (s *search) directories() []string {
	devices := map[uint64]bool{}
	for n := range s.wanted {
		devices[n.dev] = true
	}
	var dirs []string
	for next := []string{"."}; len(next) > 0 && !s.over(); next = next[1:] {
		dir := next[0]
		f, err := s.look(dir)
		if err != nil || !devices[f.dev] && dir != "." { // removed; or another file system, and what is mounted below it is rare
			continue
		}
		dirs = append(dirs, dir)
		entries, _ := os.ReadDir(s.root + dir)
		for _, e := range entries {
			if e.IsDir() {
				next = append(next, filepath.Join(dir, e.Name()))
			}
		}
	}
	return dirs
}
