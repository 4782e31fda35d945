package pod

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// maxAccounts bounds what is read of an image's /etc/passwd or /etc/group, in bytes.
const maxAccounts = 4 << 20

// openInRoot opens a path within a root file system as a process in it would: absolute links and .. lead no further than
// to the root. See openat2(2), RESOLVE_IN_ROOT.
func openInRoot(root, name string, flags int) (*os.File, error) {
	return openat2(root, name, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// openBeneath opens a path within a directory and fails with EXDEV if a link or .. leads out of it.
func openBeneath(dir, name string, flags int) (*os.File, error) {
	return openat2(dir, name, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_MAGICLINKS)
}

func openat2(dir, name string, flags int, resolve uint64) (*os.File, error) {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(at)
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: resolve}
	const races = 128 // EAGAIN: something was renamed meanwhile
	for range races {
		var fd int
		fd, err = unix.Openat2(at, name, &how)
		if err == nil {
			return os.NewFile(uintptr(fd), path.Join(dir, name)), nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return nil, &os.PathError{Op: "open", Path: path.Join(dir, name), Err: err}
}

// readInRoot reads a regular file of a root file system, nothing if there is none.
func readInRoot(root, name string, limit int64) ([]byte, error) {
	f, err := openInRoot(root, name, unix.O_RDONLY|unix.O_NONBLOCK) // a FIFO must not make us wait
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, err
}
