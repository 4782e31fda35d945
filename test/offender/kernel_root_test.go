//go:build root

package offender

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func ring() (int, error) {
	var parameters [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&parameters)), 0)
	return int(fd), result(errno)
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
