package fence

import (
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a moment on two clocks. Boot time goes on while the host is suspended, and nobody can set it; wall time also tells
// what a virtual machine missed that was paused, once somebody has set it right.
type Instant struct {
	Boot time.Duration `json:"boot"` // CLOCK_BOOTTIME, in nanoseconds
	Wall int64         `json:"wall"` // nanoseconds since 1970
}

// Now reads both clocks.
func Now() Instant {
	return Instant{Boot: time.Duration(read(unix.CLOCK_BOOTTIME)), Wall: read(unix.CLOCK_REALTIME)}
}

func read(clock int32) int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(clock, &t) // both are in every kernel since 2.6.39
	return t.Nano()
}

// Left is how long it is from now to then by the clock by which it is shorter; not above zero when the moment has passed.
func (then Instant) Left(now Instant) time.Duration {
	return min(then.Boot-now.Boot, time.Duration(then.Wall-now.Wall))
}

// valid says that a lease that ends then has not ended.
func (then Instant) valid(now Instant) bool { return then.Left(now) > 0 }
