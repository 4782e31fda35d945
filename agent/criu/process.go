package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// look is how often a wait for the kernel looks at its context, in milliseconds.
const look = 20

// startTime is when a live process began, in clock ticks since boot: proc_pid_stat(5), field 22.
func startTime(pid int) (ticks uint64, ok bool) {
	if pid <= 0 {
		return 0, false
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	line := string(data)
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:]) // from the third on
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	_, err = fmt.Sscan(fields[19], &ticks)
	return ticks, err == nil
}

// gone waits for the end of the process that had that id and began at that time, which need not be a child of ours.
func gone(ctx context.Context, pid int, start uint64) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if pid <= 0 || errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watching process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if now, ok := startTime(pid); !ok || now != start { // read after the open, so that both mean one process
		return nil
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, look)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watching process %d: %w", pid, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
