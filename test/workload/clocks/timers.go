package clocks

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// period is how long each timer runs: there is always one that runs when a pod is frozen.
const period = 300 * time.Millisecond

// wait sleeps until the clock has reached due.
type wait struct {
	clock int32
	until func(due time.Duration) error
}

// waits are the ways in which programs wait.
func waits() map[string]wait {
	return map[string]wait{
		"go":                 {unix.CLOCK_MONOTONIC, goTimer},
		"nanosleep":          {unix.CLOCK_MONOTONIC, nanosleep(unix.CLOCK_MONOTONIC)},
		"nanosleep boottime": {unix.CLOCK_BOOTTIME, nanosleep(unix.CLOCK_BOOTTIME)},
		"timerfd":            {unix.CLOCK_MONOTONIC, timerfd(unix.CLOCK_MONOTONIC)},
		"timerfd boottime":   {unix.CLOCK_BOOTTIME, timerfd(unix.CLOCK_BOOTTIME)},
		"poll":               {unix.CLOCK_MONOTONIC, poll},
	}
}

func (w *Watch) time(name string, wait wait) {
	for {
		due := now(wait.clock) + period
		err := wait.until(due)
		late := now(wait.clock) - due
		w.mu.Lock()
		t := w.timers[name]
		t.Fired++
		t.Late = max(t.Late, late)
		if late < 0 {
			t.Early++
		}
		if err != nil {
			t.Error = err.Error()
		}
		w.timers[name] = t
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// goTimer waits as the Go runtime does, in a futex or in epoll.
func goTimer(due time.Duration) error {
	<-time.After(due - now(unix.CLOCK_MONOTONIC))
	return nil
}

// nanosleep sleeps until an absolute time (clock_nanosleep(2)).
func nanosleep(clock int32) func(time.Duration) error {
	return func(due time.Duration) error {
		ts := unix.NsecToTimespec(int64(due))
		for {
			if err := unix.ClockNanosleep(clock, unix.TIMER_ABSTIME, &ts, nil); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}
}

// timerfd sets a file to an absolute time and reads it.
func timerfd(clock int32) func(time.Duration) error {
	return func(due time.Duration) error {
		fd, err := unix.TimerfdCreate(int(clock), unix.TFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("timerfd_create: %w", err)
		}
		defer unix.Close(fd) //nolint:errcheck // only read
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(due))}
		if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
			return fmt.Errorf("timerfd_settime: %w", err)
		}
		for {
			if _, err := unix.Read(fd, make([]byte, 8)); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}
}

// poll waits for a time, not until one, and again for what is left of it when it is interrupted.
func poll(due time.Duration) error {
	for {
		left := due - now(unix.CLOCK_MONOTONIC)
		if left <= 0 {
			return nil
		}
		ts := unix.NsecToTimespec(int64(left))
		if _, err := unix.Ppoll(nil, &ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
