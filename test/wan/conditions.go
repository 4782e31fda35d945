package wan

import (
	"fmt"
	"time"
)

// Conditions are what one directed link does to packets. The zero value is a perfect wire. Shares are
// probabilities, from 0 to 1, each drawn for every packet by itself.
type Conditions struct {
	Delay time.Duration `json:"delay_ns"` // one way, after transmission
	// Jitter is the standard deviation of the delay, which is normally distributed around Delay and cut
	// off three deviations from it and at zero. Packets don't overtake one another for it, as in a
	// queue: who comes close behind a slow one waits for it.
	Jitter    time.Duration `json:"jitter_ns"`
	Unordered bool          `json:"unordered"`    // jitter lets packets overtake one another all the same
	Reorder   float64       `json:"reorder"`      // share of packets that are held back, so that later ones overtake them
	HoldBack  time.Duration `json:"hold_back_ns"` // for how long
	Loss      float64       `json:"loss"`         // share of packets that are lost
	Duplicate float64       `json:"duplicate"`    // share of packets that arrive twice
	Corrupt   float64       `json:"corrupt"`      // share of packets of which one bit is turned
	Rate      Rate          `json:"rate_bit"`     // bits a second, 0 = unlimited
	Queue     int64         `json:"queue_bytes"`  // most bytes that wait for transmission; 0 = one bandwidth-delay product
	Cut       bool          `json:"cut"`          // nothing arrives, not even what is on its way
}

// Validate reports what is out of range.
func (c Conditions) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"delay", c.Delay}, {"jitter", c.Jitter}, {"hold-back", c.HoldBack}} {
		if d.value < 0 || d.value > time.Minute {
			return fmt.Errorf("%s %v: want 0 to 1m", d.name, d.value)
		}
	}
	for _, share := range []struct {
		name  string
		value float64
	}{{"loss", c.Loss}, {"reorder", c.Reorder}, {"duplicate", c.Duplicate}, {"corrupt", c.Corrupt}} {
		if !(share.value >= 0 && share.value <= 1) {
			return fmt.Errorf("%s %v: want a share from 0%% to 100%%", share.name, share.value)
		}
	}
	switch {
	case c.Rate < 0:
		return fmt.Errorf("rate %d bit/s: want 0 (unlimited) or more", c.Rate)
	case c.Queue < 0:
		return fmt.Errorf("queue of %d bytes: want 0 (one bandwidth-delay product) or more", c.Queue)
	case c.Reorder > 0 && c.HoldBack == 0:
		return fmt.Errorf("reorder %v with a hold-back of 0 reorders nothing: want for example 1%%/10ms", c.Reorder)
	}
	return nil
}

// QueueBytes is the effective bound of the queue: Queue if set, else one bandwidth-delay product of
// a round trip, at least 64 KiB. A link of unlimited rate has no queue.
func (c Conditions) QueueBytes() int64 {
	if c.Queue > 0 || c.Rate == 0 {
		return c.Queue
	}
	return max(minQueue, int64(float64(c.Rate)/8*(2*c.Delay).Seconds()))
}

// Change alters some conditions of a link and leaves the others: nil means unchanged.
type Change struct {
	Delay     *time.Duration `json:"delay_ns,omitempty"`
	Jitter    *time.Duration `json:"jitter_ns,omitempty"`
	Unordered *bool          `json:"unordered,omitempty"`
	Reorder   *float64       `json:"reorder,omitempty"`
	HoldBack  *time.Duration `json:"hold_back_ns,omitempty"`
	Loss      *float64       `json:"loss,omitempty"`
	Duplicate *float64       `json:"duplicate,omitempty"`
	Corrupt   *float64       `json:"corrupt,omitempty"`
	Rate      *Rate          `json:"rate_bit,omitempty"`
	Queue     *int64         `json:"queue_bytes,omitempty"`
	Cut       *bool          `json:"cut,omitempty"`
}

// Apply returns c with the change made.
func (ch Change) Apply(c Conditions) Conditions {
	set(&c.Delay, ch.Delay)
	set(&c.Jitter, ch.Jitter)
	set(&c.Unordered, ch.Unordered)
	set(&c.Reorder, ch.Reorder)
	set(&c.HoldBack, ch.HoldBack)
	set(&c.Loss, ch.Loss)
	set(&c.Duplicate, ch.Duplicate)
	set(&c.Corrupt, ch.Corrupt)
	set(&c.Rate, ch.Rate)
	set(&c.Queue, ch.Queue)
	set(&c.Cut, ch.Cut)
	return c
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}
