//go:build root

package offender

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// roles are what a container's process may do. Descriptors are left open on purpose.
func roles() map[string]func() error {
	return map[string]func() error{
		"idle":     func() error { return nil },
		"clean":    clean,
		"io_uring": func() error { _, err := ring(); return err },
		"io_uring mapped": func() error {
			fd, err := ring()
			if err == nil {
				_, err = unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
			}
			return errors.Join(err, unix.Close(fd))
		},
		"MPTCP":         func() error { return listen(262) },
		"vsock":         func() error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM) },
		"XDP":           func() error { return socket(unix.AF_XDP, unix.SOCK_RAW) },
		"packet socket": func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW) },
		"raw socket": func() error {
			_, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
			return err
		},
		"MD5":                  md5Listener,
		"accept queue":         acceptQueue,
		"netlink groups":       netlinkGroups,
		"netlink events":       netlinkEvents,
		"client":               func() error { return client("/outside") },
		"receiver":             func() error { return receive("/outside") },
		"abstract listener":    func() error { return listenUnix("\x00offender") },
		"abstract client":      func() error { return client("\x00offender") },
		"memory giver":         memoryGiver,
		"segment":              segment,
		"memory taker":         func() error { return receive("\x00memory") },
		"device":               func() error { return open("/dev/fuse", unix.S_IFCHR, unix.Mkdev(10, 229)) },
		"block device":         func() error { return open("/dev/loop7", unix.S_IFBLK, unix.Mkdev(7, 7)) },
		"GPU":                  func() error { return open("/dev/nvidia0", unix.S_IFCHR, unix.Mkdev(10, 229)) },
		"mapped device":        mappedDevice,
		"tunnel":               tunnel,
		"user namespace":       func() error { return nested(unix.CLONE_NEWUSER) },
		"network namespace":    func() error { return nested(unix.CLONE_NEWNET) },
		"mount namespace":      func() error { return nested(unix.CLONE_NEWNS) },
		"PID namespace":        func() error { return nested(unix.CLONE_NEWPID) },
		"thread's namespace":   threadNamespace,
		"watch":                func() error { return watch("/etc", "/usr/bin") },
		"watch of the deleted": watchDeleted,
		"deleted names":        deletedNames,
		"fanotify":             func() error { return fanotify(unix.FAN_MARK_ADD, "/etc") },
		"fanotify system":      func() error { return fanotify(unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, "/") },
		"traced":               traced,
		"vfork":                vfork,
		"shared directories":   func() error { return fork(unix.CLONE_FS) },
		"userfaultfd":          userfaultfd,
		"BPF":                  bpfMap,
		"perf":                 perfEvent,
		"secret memory":        secretMemory,
		"Landlock":             landlock,
		"message queue":        messageQueue,
		"seccomp supervisor":   seccompSupervisor,
		"packet pipe":          func() error { var fds [2]int; return unix.Pipe2(fds[:], unix.O_DIRECT) },
		"pipes":                pipes,
		"alarm clock":          func() error { _, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME_ALARM, 0); return err },
		"deadline":             deadline,
		"closed but polled":    closedButPolled,
		"first thread ended":   firstThreadEnded,
		"large deleted file":   func() error { return deleted(1100 << 20) },
		"tmpfs": func() error {
			return errors.Join(os.Mkdir("/mnt/tmpfs", 0o755), unix.Mount("tmpfs", "/mnt/tmpfs", "tmpfs", 0, ""))
		},
		"bind mount of its own": func() error {
			return errors.Join(os.Mkdir("/mnt/bind", 0o755), unix.Mount("/usr", "/mnt/bind", "", unix.MS_BIND, ""))
		},
		"workers": func() error { return workers(200, 25) },
	}
}

func result(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
