// Package wan emulates a wide area network between sites on one machine: it routes IP packets
// between TUN devices and gives every directed pair of sites a delay with jitter, a rate with a bounded
// queue, packets that are lost, held back, doubled and damaged, and a switch to cut it, all of which
// may change while it runs. It needs nothing of the kernel but TUN, and whatever it made is gone when
// its process ends.
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

// Count is a number of packets and their IP bytes.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (c *Count) add(size int) {
	c.Packets++
	c.Bytes += uint64(size)
}

// Counters tell what became of the packets of one directed link.
type Counters struct {
	Sent       Count `json:"sent"`
	Duplicated Count `json:"duplicated"` // sent once more by the link
	Delivered  Count `json:"delivered"`
	Lost       Count `json:"lost"`      // by the random loss
	Overflow   Count `json:"overflow"`  // the queue was full
	Cut        Count `json:"cut"`       // the link was cut
	Reordered  Count `json:"reordered"` // of those delivered: after one that was sent later (RFC 4737, section 3.3)
	Corrupted  Count `json:"corrupted"` // sent on with a wrong bit
}

// InFlight is the number of packets that wait or are on the wire.
func (c Counters) InFlight() uint64 {
	return c.Sent.Packets + c.Duplicated.Packets - c.Delivered.Packets - c.Lost.Packets - c.Overflow.Packets - c.Cut.Packets
}

// LinkStatus is the state of one directed link.
type LinkStatus struct {
	From       string     `json:"from"`
	To         string     `json:"to"`
	Conditions Conditions `json:"conditions"`
	Counters   Counters   `json:"counters"`
}
