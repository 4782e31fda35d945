//go:build root

package offender

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

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

func ring() (int, error) {
	var parameters [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&parameters)), 0)
	return int(fd), result(errno)
}

func result(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

func socket(family, kind int) error {
	_, err := unix.Socket(family, kind, 0)
	return err
}

func listen(protocol int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, protocol)
	if err != nil {
		return err
	}
	return errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: 7000}), unix.Listen(fd, 8))
}

func md5Listener() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	var signature [216]byte // struct tcp_md5sig: the peer's address, then flags, the key's length, the key
	signature[0], signature[4], signature[7] = unix.AF_INET, 10, 1
	signature[130], signature[136] = 3, 'k'
	err = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, string(signature[:]))
	return errors.Join(err, unix.Bind(fd, &unix.SockaddrInet4{Port: 7000}), unix.Listen(fd, 8))
}

func acceptQueue() error {
	if err := listen(0); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	return errors.Join(err, unix.Connect(fd, &unix.SockaddrInet4{Port: 7000, Addr: [4]byte{127, 0, 0, 1}}))
}

func netlinkGroups() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	const nsid, stats = 28, 36 // RTNLGRP_STATS
	return errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, nsid),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, stats))
}

// netlinkEvents asks and doesn't read the answer.
func netlinkEvents() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	request := make([]byte, 32) // struct nlmsghdr, struct ifinfomsg
	request[0], request[4], request[6], request[7] = 32, unix.RTM_GETLINK, unix.NLM_F_REQUEST, unix.NLM_F_DUMP>>8
	return unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

func listenUnix(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: name}), unix.Listen(fd, 8)); err != nil {
		return err
	}
	go func() { _, _, _ = unix.Accept(fd) }()
	return nil
}

func client(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrUnix{Name: name})
}

// receive takes a descriptor from somebody, and keeps it.
func receive(from string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: from}); err != nil {
		return err
	}
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), control, 0)
	if err == nil && n == 0 {
		err = errors.New("no descriptor came")
	}
	return err
}

// give hands a descriptor to the first who connects to the listener.
func give(listener, fd int) error {
	conn, _, err := unix.Accept(listener)
	if err != nil {
		return err
	}
	return errors.Join(unix.Sendmsg(conn, []byte{0}, unix.UnixRights(fd), nil, 0), unix.Close(conn), unix.Close(listener))
}

func memoryGiver() error {
	memory, err := unix.MemfdCreate("shared", 0)
	if err := errors.Join(err, unix.Ftruncate(memory, 4096)); err != nil {
		return err
	}
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err := errors.Join(err, unix.Bind(listener, &unix.SockaddrUnix{Name: "\x00memory"}), unix.Listen(listener, 1)); err != nil {
		return err
	}
	go func() { _ = give(listener, memory) }()
	return nil
}

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

// nested starts a process in a namespace of its own.
func nested(flag uintptr) error {
	cmd := exec.Command("/offender")
	cmd.Env = []string{roleVariable + "=child"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
	return cmd.Start()
}

func threadNamespace() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- unix.Unshare(unix.CLONE_NEWNET)
		forever()
	}()
	return <-done
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

// traced starts a child that it traces.
func traced() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the tracer is a thread
		cmd := exec.Command("/offender")
		cmd.Env = []string{roleVariable + "=child"}
		err := cmd.Start()
		if err == nil {
			const seize = 0x4206 // PTRACE_SEIZE
			_, _, errno := unix.Syscall6(unix.SYS_PTRACE, seize, uintptr(cmd.Process.Pid), 0, 0, 0, 0)
			err = result(errno)
		}
		done <- err
		forever()
	}()
	return <-done
}

// vfork suspends a thread until a child that shares its memory has ended, which it doesn't.
func vfork() error {
	go func() {
		runtime.LockOSThread()
		_ = fork(unix.CLONE_VM | unix.CLONE_VFORK)
	}()
	return nil
}

// fork makes a child that does nothing.
func fork(flags uintptr) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	for errno == 0 && pid == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
	}
	return result(errno)
}

func userfaultfd() error {
	const userModeOnly = 1
	_, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, userModeOnly, 0, 0)
	return result(errno)
}

func bpfMap() error {
	attributes := [4]uint32{2, 4, 4, 1} // BPF_MAP_TYPE_ARRAY, sizes of key and value, one entry
	_, _, errno := unix.Syscall(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
	return result(errno)
}

func perfEvent() error {
	event := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK}
	event.Size = uint32(unsafe.Sizeof(event))
	_, err := unix.PerfEventOpen(&event, 0, -1, -1, 0)
	return err
}

func secretMemory() error {
	fd, err := unix.MemfdSecret(0)
	if err == nil {
		err = unix.Ftruncate(fd, 4096)
	}
	if err == nil {
		_, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	return err
}

func landlock() error {
	handled := uint64(1)
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&handled)), 8, 0)
	return result(errno)
}

func messageQueue() error {
	name, err := unix.BytePtrFromString("queue")
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0)
	return result(errno)
}

// seccompSupervisor installs a filter that allows everything, with a listener.
func seccompSupervisor() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := unix.SockFilter{Code: 0x06, K: 0x7fff0000} // return SECCOMP_RET_ALLOW
	program := unix.SockFprog{Len: 1, Filter: &filter}
	const setModeFilter, newListener = 1, 1 << 3
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, newListener, uintptr(unsafe.Pointer(&program)))
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

func deadline() error {
	attributes := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: 6, Runtime: 1e6, Deadline: 1e8, Period: 1e8}
	return unix.SchedSetAttr(os.Getpid(), &attributes, 0)
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

func firstThreadEnded() error {
	if unix.Gettid() != os.Getpid() {
		return errors.New("this is not the first thread")
	}
	go func() {
		_ = os.WriteFile("/note", []byte("ready"), 0o600) // nobody else will
		forever()
	}()
	_, _, errno := unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	return result(errno)
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

// workers starts processes that have files open.
func workers(processes, files int) error {
	for range files {
		if _, err := os.Open("/usr/bin"); err != nil {
			return err
		}
	}
	for i := range processes {
		if err := fork(0); err != nil {
			return fmt.Errorf("process %d: %w", i, err)
		}
	}
	return nil
}
