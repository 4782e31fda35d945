package volumes

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxPath = unix.PathMax - 1 // limits.h: PATH_MAX counts the terminating zero
	maxName = 255              // limits.h: NAME_MAX

	// beneath makes the kernel refuse every way out of a directory. Mount points are refused too: nothing is
	// mounted inside a layer or an upper, and what is must not be written or deleted through.
	beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV
)

// A tree is a directory whose paths can't leave it. Paths are relative and clean; "." is the directory itself.
// The descriptor of the last directory that was asked for is kept, since entries come grouped by directory.
type tree struct {
	root   int
	cached string // "" if none
	fd     int
}

func openTree(dir string) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	return &tree{root: fd}, nil
}

func (t *tree) close() {
	t.forget()
	_ = unix.Close(t.root)
}

// forget drops the kept descriptor; whoever removes a directory must call it.
func (t *tree) forget() {
	if t.cached != "" {
		_ = unix.Close(t.fd)
		t.cached = ""
	}
}

// directory returns a descriptor (O_PATH) of a directory; it is the tree's and good until the next call.
func (t *tree) directory(name string) (int, error) {
	if name == "." {
		return t.root, nil
	}
	if t.cached == name {
		return t.fd, nil
	}
	fd, err := t.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	t.forget()
	t.cached, t.fd = name, fd
	return fd, nil
}

// parent returns the directory that holds name, as directory does, and the last element of name.
func (t *tree) parent(name string) (fd int, base string, err error) {
	fd, err = t.directory(path.Dir(name))
	return fd, path.Base(name), err
}

// open opens name, which the caller closes.
func (t *tree) open(name string, flags uint64) (int, error) {
	fd, err := openBeneath(t.root, name, flags)
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EXDEV):
		return -1, &RefusedError{Entry: name, Reason: t.diagnose(name), cause: err}
	}
	return -1, err
}

// diagnose says why the kernel would not resolve name.
func (t *tree) diagnose(name string) string {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		fd, err := openBeneath(t.root, name[:i], unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return fmt.Sprintf("would land outside its root: %s can't be opened beneath it: %v", name[:i], err)
		}
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		_ = unix.Close(fd)
		switch {
		case err != nil:
			return "can't be resolved: " + err.Error()
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			return fmt.Sprintf("would land outside its root: %s is a symbolic link", name[:i])
		case st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return fmt.Sprintf("has no place: %s is not a directory", name[:i])
		}
	}
	return "can't be resolved beneath its root"
}

func openBeneath(dir int, name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: beneath}
	for range 100 { // EAGAIN: the kernel saw a rename while it resolved (openat2(2))
		fd, err := unix.Openat2(dir, name, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// procPath names an object by its open directory, for the system calls that take a path only. They must not
// follow a symbolic link in the last element.
func procPath(dir int, base string) string { return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + base }

// cleanName brings the name of a tar entry into the form that a tree takes. A leading "/" or "./" is how tar
// programs write names, not a way out; ".." is.
func cleanName(name string) (string, error) {
	refuse := func(why string) (string, error) { return "", &RefusedError{Entry: shorten(name), Reason: why} }
	if len(name) > maxPath {
		return refuse(fmt.Sprintf("has a name of %d bytes, the longest possible is %d", len(name), maxPath))
	}
	if strings.IndexByte(name, 0) >= 0 {
		return refuse("has a zero byte in its name")
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return refuse("would land outside its root: its name holds \"..\"")
		}
		if len(element) > maxName {
			return refuse(fmt.Sprintf("has a name element of %d bytes, the longest possible is %d", len(element), maxName))
		}
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		return ".", nil
	}
	return clean, nil
}

func shorten(name string) string {
	if len(name) > 100 {
		return name[:100] + "..."
	}
	return name
}
