package fence

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// timers wake the fence when a lease ends by either clock, and when somebody sets the wall clock: timerfd_create(2).
type timers struct{ boot, wall int }

// cancelOnSet is TFD_TIMER_CANCEL_ON_SET of linux/timerfd.h.
const cancelOnSet = 2

func openTimers() (timers, error) {
	boot, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return timers{}, fmt.Errorf("making a timer of boot time: %w", err)
	}
	wall, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return timers{}, errors.Join(fmt.Errorf("making a timer of wall time: %w", err), unix.Close(boot))
	}
	return timers{boot, wall}, nil
}

// set arms both for that moment. One that has passed wakes at once.
func (t timers) set(end Instant) error {
	for _, one := range []struct {
		fd, flags int
		at        int64
	}{
		{t.boot, unix.TFD_TIMER_ABSTIME, int64(end.Boot)},
		{t.wall, unix.TFD_TIMER_ABSTIME | cancelOnSet, end.Wall},
	} {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(one.at, 1))} // 0 would disarm it
		if err := unix.TimerfdSettime(one.fd, one.flags, &spec, nil); err != nil {
			return fmt.Errorf("setting the timer of the lease: %w", err)
		}
	}
	return nil
}

// clear makes a timer that has woken the fence wait again. That the clock was set (ECANCELED) needs no more: whoever is awake
// looks at the clocks.
func (t timers) clear(fd int) {
	if fd < 0 {
		return
	}
	var ticks [8]byte
	_, _ = unix.Read(fd, ticks[:])
}

func (t timers) close() {
	_ = unix.Close(t.boot)
	_ = unix.Close(t.wall)
}
