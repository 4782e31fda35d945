// Package clocks watches the clocks and the timers of the host that it runs on: whether a clock goes back or jumps, and how
// long after its due time each kind of timer fires. A pod that has it in its memory tells what a move did to them.
package clocks

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pace is how often clocks are read.
const pace = 2 * time.Millisecond

// Report is what was seen since the start, or since the last report.
type Report struct {
	Clocks map[string]Clock `json:"clocks"`
	Timers map[string]Timer `json:"timers"`
}

// Clock is what was seen of one clock.
type Clock struct {
	Now     time.Duration `json:"now_ns"`
	Samples int           `json:"samples"`
	Back    int           `json:"back"`    // how often it was before the sample before
	Step    time.Duration `json:"step_ns"` // longest from one sample to the next
}

// Timer is what was seen of one kind of timer.
type Timer struct {
	Fired int           `json:"fired"`
	Early int           `json:"early"`   // how often it fired before it was due
	Late  time.Duration `json:"late_ns"` // longest from when it was due until it fired
	Error string        `json:"error,omitempty"`
}

// With returns what was seen in r and then in a later report.
func (r Report) With(later Report) Report {
	all := Report{Clocks: maps.Clone(later.Clocks), Timers: maps.Clone(later.Timers)}
	for name, c := range r.Clocks {
		sum := all.Clocks[name]
		sum.Now = max(sum.Now, c.Now)
		sum.Samples += c.Samples
		sum.Back += c.Back
		sum.Step = max(sum.Step, c.Step)
		all.Clocks[name] = sum
	}
	for name, t := range r.Timers {
		sum := all.Timers[name]
		sum.Fired += t.Fired
		sum.Early += t.Early
		sum.Late = max(sum.Late, t.Late)
		sum.Error += t.Error
		all.Timers[name] = sum
	}
	return all
}

// Complete is nil if every clock was read and every kind of timer has fired.
func (r Report) Complete() error {
	for name := range readers() {
		if r.Clocks[name].Samples == 0 {
			return fmt.Errorf("clock %s was not read", name)
		}
	}
	for name := range waits() {
		if r.Timers[name].Fired == 0 {
			return fmt.Errorf("timer %s has not fired", name)
		}
	}
	return nil
}

// Watch is a watch that goes on until its process ends.
type Watch struct {
	mu     sync.Mutex
	last   map[string]time.Duration // of each clock
	clocks map[string]Clock
	timers map[string]Timer
}

// Start begins to watch.
func Start() *Watch {
	w := &Watch{last: map[string]time.Duration{}, clocks: map[string]Clock{}, timers: map[string]Timer{}}
	for name, wait := range waits() {
		go w.time(name, wait)
	}
	go w.sample()
	return w
}

// Report returns what was seen, and begins anew, except that clocks are compared with their last sample.
func (w *Watch) Report() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := Report{Clocks: w.clocks, Timers: w.timers}
	w.clocks, w.timers = map[string]Clock{}, map[string]Timer{}
	return r
}

// readers are the clocks that a time namespace shifts, asked by a system call; and as the vDSO tells, without one.
func readers() map[string]func() time.Duration {
	start, began := time.Now(), now(unix.CLOCK_MONOTONIC)
	return map[string]func() time.Duration{
		"monotonic":        func() time.Duration { return now(unix.CLOCK_MONOTONIC) },
		"monotonic raw":    func() time.Duration { return now(unix.CLOCK_MONOTONIC_RAW) },
		"monotonic coarse": func() time.Duration { return now(unix.CLOCK_MONOTONIC_COARSE) },
		"boottime":         func() time.Duration { return now(unix.CLOCK_BOOTTIME) },
		"vdso":             func() time.Duration { return began + time.Since(start) },
	}
}

// now reads a clock that every kernel has.
func now(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

func (w *Watch) sample() {
	clocks := readers()
	for range time.Tick(pace) {
		w.mu.Lock()
		for name, read := range clocks {
			c := w.clocks[name]
			c.Now = read()
			c.Samples++
			if last, ok := w.last[name]; ok {
				c.Step = max(c.Step, c.Now-last)
				if c.Now < last {
					c.Back++
				}
			}
			w.clocks[name], w.last[name] = c, c.Now
		}
		w.mu.Unlock()
	}
}
