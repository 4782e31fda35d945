package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// remove deletes name and all below it; a name that isn't there is fine. A mount point stops it with an error.
func (t *tree) remove(name string) error {
	parent, base, err := t.parent(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	wasDir, err := removeAt(parent, base)
	if wasDir {
		t.forget()
	}
	if err != nil {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	return nil
}

// removeAt deletes one entry of a directory, and what it holds, and says if it was a directory.
func removeAt(dir int, base string) (wasDir bool, err error) {
	err = unix.Unlinkat(dir, base, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return false, err
	}
	fd, openErr := openBeneath(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if errors.Is(openErr, unix.ENOTDIR) {
		return false, err // EPERM was about a file
	}
	if errors.Is(openErr, unix.EXDEV) {
		return true, fmt.Errorf("%s is a mount point: unmount it first: %w", base, ErrInUse)
	}
	if openErr != nil {
		return true, openErr
	}
	if err := emptyDir(os.NewFile(uintptr(fd), base)); err != nil {
		return true, err
	}
	return true, unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
}

// emptyDir deletes all that a directory holds, and closes it.
func emptyDir(dir *os.File) error {
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := removeAt(int(dir.Fd()), name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// removeTree deletes dir and all below it, crossing no mount point.
func removeTree(dir string) error {
	parent, err := openTree(filepath.Dir(dir))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.close()
	return parent.remove(filepath.Base(dir))
}
