package lab

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The clocks that a time namespace shifts (time_namespaces(7)), by their names in timens_offsets.
var shiftedClocks = map[string]int32{"monotonic": unix.CLOCK_MONOTONIC, "boottime": unix.CLOCK_BOOTTIME}

// checkClock returns an error if the kernel would refuse the offset.
func checkClock(offset time.Duration) error {
	for name, id := range shiftedClocks {
		var now unix.Timespec
		if err := unix.ClockGettime(id, &now); err != nil {
			return fmt.Errorf("reading the machine's %s clock: %w", name, err)
		}
		if uptime := time.Duration(now.Nano()); uptime+offset < 0 {
			return fmt.Errorf("clock %v: this machine has been up for %v, and the kernel refuses a %s clock below zero: want more than -%[2]v",
				offset, uptime.Truncate(time.Second), name)
		}
	}
	return nil
}

// ownClocks gives all that this thread executes clocks that are the offset ahead of the machine's. The offsets must be
// written before the first process is in the namespace.
func ownClocks(offset time.Duration) error {
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("making a time namespace: %w", err)
	}
	// The file belongs to tasks that lead a group, and is found by any task's number.
	thread, err := os.Readlink("/proc/thread-self")
	if err != nil {
		return err
	}
	var group, task int
	if _, err := fmt.Sscanf(thread, "%d/task/%d", &group, &task); err != nil {
		return fmt.Errorf("finding this thread in /proc: %w", err)
	}
	seconds := int64(offset / time.Second)
	rest := int64(offset % time.Second)
	if rest < 0 {
		seconds, rest = seconds-1, rest+int64(time.Second)
	}
	path := fmt.Sprintf("/proc/%d/timens_offsets", task)
	for name := range shiftedClocks {
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s %d %d\n", name, seconds, rest), 0); err != nil {
			return fmt.Errorf("shifting the %s clock by %v: %w", name, offset, err)
		}
	}
	return nil
}

// checkOwnClocks returns an error if this process is not in the time namespace that it made.
func checkOwnClocks() error {
	own, err := os.Readlink("/proc/thread-self/ns/time")
	if err != nil {
		return err
	}
	made, err := os.Readlink("/proc/thread-self/ns/time_for_children")
	if err == nil && own != made {
		err = errors.New("this kernel doesn't enter a time namespace by exec: clocks of sites need Linux 6.2")
	}
	return err
}

// sharesClocks says whether this thread is in the time namespace of a site's init.
func sharesClocks(init int) (bool, error) {
	own, err := os.Readlink("/proc/thread-self/ns/time")
	if err != nil {
		return false, err
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", init))
	return own == theirs, err
}

// inSitesTime is the command that runs argv, in a site, in the time namespace of its process 1. Only a
// process of one thread can enter one (setns(2)), so another program does it.
func inSitesTime(argv []string) []string {
	return append([]string{"nsenter", "--time=/proc/1/ns/time", "--no-fork", "--"}, argv...)
}
