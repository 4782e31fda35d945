// Package wan emulates a wide area network between sites on one machine: it routes IP packets
// between TUN devices and gives every directed pair of sites a delay, a loss, a rate with a bounded
// queue, and a switch to cut it, all of which may change while it runs. It needs nothing of the
// kernel but TUN, and whatever it made is gone when its process ends.
package wan

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// minQueue is the least default queue: small enough to matter, large enough for a TCP burst.
const minQueue = 64 << 10

// Rate is a transmission rate in bits a second; zero is unlimited.
type Rate int64

// rateUnits are decimal, as rates of links always are; the longest suffix comes first.
var rateUnits = []struct {
	suffix string
	bits   float64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// ParseRate reads a rate such as "200mbit", "1.5gbit" or "unlimited".
func ParseRate(s string) (Rate, error) {
	lower := strings.ToLower(strings.TrimSpace(s))
	if lower == "unlimited" {
		return 0, nil
	}
	for _, unit := range rateUnits {
		number, ok := strings.CutSuffix(lower, unit.suffix)
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil || !(value*unit.bits >= 1) || value*unit.bits > 1e12 {
			break
		}
		return Rate(math.Round(value * unit.bits)), nil
	}
	return 0, fmt.Errorf("rate %q: want a number from 1bit to 1000gbit with its unit (bit, kbit, mbit, gbit), or unlimited", s)
}

// String is the shortest exact form that ParseRate reads.
func (r Rate) String() string {
	if r == 0 {
		return "unlimited"
	}
	for _, unit := range rateUnits {
		if float64(r) >= unit.bits {
			return strconv.FormatFloat(float64(r)/unit.bits, 'f', -1, 64) + unit.suffix
		}
	}
	return strconv.FormatInt(int64(r), 10) + "bit"
}

// transmission is the time that size bytes take on a link of rate r, rounded up.
func (r Rate) transmission(size int64) time.Duration {
	if r <= 0 {
		return 0
	}
	return time.Duration(math.Ceil(float64(size) * 8e9 / float64(r)))
}

// Conditions are what one directed link does to packets. The zero value is a perfect wire.
type Conditions struct {
	Delay time.Duration `json:"delay_ns"`    // one way, after transmission
	Loss  float64       `json:"loss"`        // probability that a packet is lost, 0 to 1
	Rate  Rate          `json:"rate_bit"`    // bits a second, 0 = unlimited
	Queue int64         `json:"queue_bytes"` // most bytes that wait for transmission; 0 = one bandwidth-delay product
	Cut   bool          `json:"cut"`         // nothing arrives, not even what is on its way
}

// ParseConditions reads "RATE/RTT", such as "200mbit/50ms": each direction gets the rate and half
// of the round-trip time.
func ParseConditions(s string) (Conditions, error) {
	rate, rtt, ok := strings.Cut(s, "/")
	if !ok {
		return Conditions{}, fmt.Errorf("WAN %q: want RATE/RTT, for example 200mbit/50ms", s)
	}
	r, err := ParseRate(rate)
	if err != nil {
		return Conditions{}, fmt.Errorf("WAN %q: %w", s, err)
	}
	d, err := time.ParseDuration(rtt)
	if err != nil {
		return Conditions{}, fmt.Errorf("WAN %q: round-trip time: %w", s, err)
	}
	c := Conditions{Rate: r, Delay: d / 2}
	return c, c.Validate()
}

// Validate reports what is out of range.
func (c Conditions) Validate() error {
	switch {
	case c.Delay < 0 || c.Delay > time.Minute:
		return fmt.Errorf("delay %v: want 0 to 1m", c.Delay)
	case !(c.Loss >= 0 && c.Loss <= 1):
		return fmt.Errorf("loss %v: want a probability from 0 to 1", c.Loss)
	case c.Rate < 0:
		return fmt.Errorf("rate %d bit/s: want 0 (unlimited) or more", c.Rate)
	case c.Queue < 0:
		return fmt.Errorf("queue of %d bytes: want 0 (one bandwidth-delay product) or more", c.Queue)
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
	Delay *time.Duration `json:"delay_ns,omitempty"`
	Loss  *float64       `json:"loss,omitempty"`
	Rate  *Rate          `json:"rate_bit,omitempty"`
	Queue *int64         `json:"queue_bytes,omitempty"`
	Cut   *bool          `json:"cut,omitempty"`
}

// Apply returns c with the change made.
func (ch Change) Apply(c Conditions) Conditions {
	set(&c.Delay, ch.Delay)
	set(&c.Loss, ch.Loss)
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

// Count is a number of packets and their IP bytes.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (c *Count) add(size int) {
	c.Packets++
	c.Bytes += uint64(size)
}

// Counters tell what became of the packets of one directed link. Those in Sent that are in no other
// counter are on their way.
type Counters struct {
	Sent      Count `json:"sent"`
	Delivered Count `json:"delivered"`
	Lost      Count `json:"lost"`     // by the random loss
	Overflow  Count `json:"overflow"` // the queue was full
	Cut       Count `json:"cut"`      // the link was cut
}

// InFlight is the number of packets that wait or are on the wire.
func (c Counters) InFlight() uint64 {
	return c.Sent.Packets - c.Delivered.Packets - c.Lost.Packets - c.Overflow.Packets - c.Cut.Packets
}

// LinkStatus is the state of one directed link.
type LinkStatus struct {
	From       string     `json:"from"`
	To         string     `json:"to"`
	Conditions Conditions `json:"conditions"`
	Counters   Counters   `json:"counters"`
}
