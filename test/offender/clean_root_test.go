//go:build root

package offender

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/isolation"
)

// clean does what servers do, and CRIU knows to move: listeners with workers, pipes, sockets in pairs, memory that is shared
// in each way, locks, timers, watches, files that are deleted.
func clean() error {
	return errors.Join(listen(0), descriptors(), memory(), files(), family())
}

func descriptors() error {
	var pair, pipe [2]int
	set, err := unix.EpollCreate1(0)
	event, err2 := unix.Eventfd(3, 0)
	timer, err3 := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, 0)
	_, err4 := unix.Signalfd(-1, &unix.Sigset_t{}, 0)
	pair, err5 := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	datagram, err6 := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	netlink, err7 := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	udp, err8 := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	self, err9 := unix.PidfdOpen(os.Getpid(), 0)
	if err := errors.Join(err, err2, err3, err4, err5, err6, err7, err8, err9, unix.Pipe(pipe[:])); err != nil {
		return err
	}
	for _, fd := range []int{event, timer, pair[0], datagram[1], pipe[0], udp} {
		if err := unix.EpollCtl(set, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
			return err
		}
	}
	_, _ = self, netlink
	_, err = unix.Write(pair[1], []byte("waiting"))
	return errors.Join(err, listenUnix("/socket"), client("/socket"), established())
}

// established is a TCP connection with itself.
func established() error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	address := &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(listener, address), unix.Listen(listener, 8)); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := errors.Join(err, unix.Connect(fd, address)); err != nil {
		return err
	}
	_, _, err = unix.Accept(listener)
	return err
}

func memory() error {
	memfd, err := unix.MemfdCreate("memory", 0)
	if err := errors.Join(err, unix.Ftruncate(memfd, 1<<20)); err != nil {
		return err
	}
	shared, err := unix.Mmap(memfd, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	shared[0] = 1
	anonymous, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	anonymous[0] = 1
	return segment()
}

// segment attaches System V shared memory.
func segment() error {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 1<<20, unix.IPC_CREAT|0o600)
	if err != nil {
		return err
	}
	_, err = unix.SysvShmAttach(id, 0, 0)
	return err
}

func files() error {
	gone, err := os.Create("/gone")
	if err != nil {
		return err
	}
	if _, err := gone.WriteString("gone"); err != nil {
		return err
	}
	locked, err := os.Create("/locked")
	if err != nil {
		return err
	}
	_, err = os.Create("/dev/shm/file")
	_, err2 := os.Open("/dev/urandom")
	_, err3 := os.Open("/proc/self/status")
	_, err4 := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
	return errors.Join(err, err2, err3, err4, os.Remove("/gone"), unix.Flock(int(locked.Fd()), unix.LOCK_EX), watch("/etc"),
		unix.Mkfifo("/fifo", 0o600))
}

// family is workers, one of which leads a session of its own, and one that has ended and nobody has waited for.
func family() error {
	for range 2 {
		cmd := exec.Command("/offender")
		cmd.Env = []string{isolation.Environ("child")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	return errors.Join(fork(0), exec.Command("/bin/true").Start())
}
