package fence

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Freezer stops the processes of a cgroup and of all below it.
type Freezer interface {
	// Order asks them to stand still, or to go on. It doesn't wait.
	Order(still bool) error
	// Still says whether all of them stand still on this freezer's order or that of one above.
	Still() (bool, error)
	// Close lets go of it, as it is.
	Close()
}

// ErrGone says that there is no such cgroup any more, and so no process in it.
var ErrGone = errors.New("the cgroup is gone")

// cgroup is a freezer of the kernel's. Its files are open, so that acting needs no path, no memory and no disk:
// Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst in the kernel's source.
type cgroup struct {
	ask, tell            int // descriptors
	freeze, thaw, frozen []byte
	buf                  [256]byte
}

// openCgroup opens the freezer of the cgroup with that directory, of version 1 or 2.
func openCgroup(dir string) (*cgroup, error) {
	c := &cgroup{ask: -1, tell: -1}
	files := [2]string{"cgroup.freeze", "cgroup.events"}
	c.freeze, c.thaw, c.frozen = []byte("1"), []byte("0"), []byte("frozen 1")
	if err := unix.Access(filepath.Join(dir, "freezer.state"), unix.F_OK); err == nil {
		files = [2]string{"freezer.state", "freezer.state"}
		c.freeze, c.thaw, c.frozen = []byte("FROZEN"), []byte("THAWED"), []byte("FROZEN")
	}
	var err error
	if c.ask, err = unix.Open(filepath.Join(dir, files[0]), unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("opening the freezer of %s: %w", dir, err)
	}
	if c.tell, err = unix.Open(filepath.Join(dir, files[1]), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		c.Close()
		return nil, fmt.Errorf("opening the freezer of %s: %w", dir, err)
	}
	return c, nil
}

func (c *cgroup) Order(still bool) error {
	text := c.thaw
	if still {
		text = c.freeze
	}
	_, err := unix.Pwrite(c.ask, text, 0)
	return goneOr(err)
}

func (c *cgroup) Still() (bool, error) {
	n, err := unix.Pread(c.tell, c.buf[:], 0)
	if err != nil {
		return false, goneOr(err)
	}
	return bytes.Contains(c.buf[:n], c.frozen), nil
}

func (c *cgroup) Close() {
	for _, fd := range []int{c.ask, c.tell} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

func goneOr(err error) error {
	if errors.Is(err, unix.ENODEV) { // kernfs, of a file whose directory was removed
		return ErrGone
	}
	return err
}
