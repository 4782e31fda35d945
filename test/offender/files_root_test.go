//go:build root

package offender

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func open(path string, kind uint32, dev uint64) error {
	if err := unix.Mknod(path, kind|0o666, int(dev)); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	_, err := unix.Open(path, unix.O_RDWR, 0)
	return err
}

// mappedDevice maps a device and closes it.
func mappedDevice() error {
	if err := unix.Mknod("/dev/loop7", unix.S_IFBLK|0o600, int(unix.Mkdev(7, 7))); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	fd, err := unix.Open("/dev/loop7", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	return err
}

func tunnel() error {
	if err := unix.Mknod("/dev/tun", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	fd, err := unix.Open("/dev/tun", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq("tun7")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
}

func watch(paths ...string) error {
	fd, err := unix.InotifyInit1(0)
	for _, path := range paths {
		if err == nil {
			_, err = unix.InotifyAddWatch(fd, path, unix.IN_CREATE)
		}
	}
	return err
}

func watchDeleted() error {
	_, err := os.Create("/deleted") // open, so that it is still there
	return errors.Join(err, watch("/deleted"), os.Remove("/deleted"))
}

func fanotify(flags uint, path string) error {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return unix.FanotifyMark(fd, flags, unix.FAN_OPEN, unix.AT_FDCWD, path)
}

func messageQueue() error {
	name, err := unix.BytePtrFromString("queue")
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0)
	return result(errno)
}

func pipes() error {
	for range 1100 {
		var fds [2]int
		if err := unix.Pipe(fds[:]); err != nil {
			return err
		}
	}
	return nil
}

// closedButPolled polls a pipe that only a child of it still has.
func closedButPolled() error {
	var fds [2]int
	set, err := unix.EpollCreate1(0)
	if err := errors.Join(err, unix.Pipe(fds[:])); err != nil {
		return err
	}
	if err := unix.EpollCtl(set, unix.EPOLL_CTL_ADD, fds[0], &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		return err
	}
	return errors.Join(fork(0), unix.Close(fds[0]))
}

func deleted(size int64) error {
	f, err := os.Create("/large")
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), os.Remove("/large"))
}

// deletedNames has files open by names that they no longer have: one has another name, one is of the image.
func deletedNames() error {
	for _, path := range []string{"/first", "/etc/hostname", "/etc/shells"} {
		if path == "/first" {
			if err := errors.Join(os.WriteFile(path, []byte("first"), 0o600), os.Link(path, "/second")); err != nil {
				return err
			}
		}
		if _, err := os.Open(path); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
