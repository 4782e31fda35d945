package route

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// nsfsMagic is the file system type of a bound namespace (linux/magic.h).
const nsfsMagic = 0x6e736673

// inside runs f on a thread of its own in the network namespace. /proc/sys/net shows the namespace of the thread that
// opens it, so f may write sysctls. The thread ends with f.
func inside(ns netns.NsHandle, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime then ends the thread
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("entering a network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// makeNamespace makes a network namespace that is bound to dir/name, as `ip netns add` does.
func makeNamespace(dir, name string) (err error) {
	if err := shareDir(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("naming a network namespace: %w", err)
	}
	_ = file.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, removeNamespace(path))
		}
	}()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("making a network namespace: %w", err)
			return
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
			done <- fmt.Errorf("binding a network namespace to %s: %w", path, err)
			return
		}
		done <- nil
	}()
	return <-done
}

// shareDir makes dir a shared mount, as `ip netns` does, so that a namespace that is removed here goes away in every
// mount namespace that has a copy of dir.
func shareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of network namespaces: %w", err)
	}
	err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return wrap(err, "sharing %s", dir)
	}
	if err := unix.Mount(dir, dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding %s to itself: %w", dir, err)
	}
	return wrap(unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, ""), "sharing %s", dir)
}

// removeNamespace takes the name away; the namespace itself lives until its last process or open file is gone.
func removeNamespace(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unbinding network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the name of a network namespace: %w", err)
	}
	return nil
}

// openNamespace opens a bound network namespace. The error is os.ErrNotExist if nothing is bound to path.
func openNamespace(path string) (netns.NsHandle, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return netns.None(), &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if int64(fs.Type) != nsfsMagic {
		return netns.None(), &os.PathError{Op: "open namespace", Path: path, Err: os.ErrNotExist}
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return netns.None(), fmt.Errorf("opening network namespace %s: %w", path, err)
	}
	return ns, nil
}

// wrap adds what was being done to an error, if there is one.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
