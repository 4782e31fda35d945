package sim

import "time"

// A clock is what a host believes of time. Rates differ between hosts by less than the tenth that leases allow for; wall
// time jumps; time since boot goes on while the host is suspended, as CLOCK_BOOTTIME does.
type clock struct {
	d    *driver
	rate float64       // seconds of this clock in a second
	jump time.Duration // of wall time, so far
	on   time.Duration // when the host was switched on
	// missed is how long it was paused since: no clock but the time of day, once that was set right, knows of it.
	missed time.Duration
}

// wallBegin is wall time at the beginning of a run.
var wallBegin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *clock) scaled(t time.Duration) time.Duration { return time.Duration(float64(t) * c.rate) }

// boot is CLOCK_BOOTTIME. It starts anew with the host.
func (c *clock) boot() time.Duration { return c.scaled(c.d.now - c.on - c.missed) }

func (c *clock) wall() time.Time { return wallBegin.Add(c.scaled(c.d.now) + c.jump) }

// in is how long it takes until this clock has gone on by t.
func (c *clock) in(t time.Duration) time.Duration {
	return time.Duration(float64(t)/c.rate) + time.Nanosecond
}
