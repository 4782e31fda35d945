package wan

import (
	"math/rand/v2"
	"time"
)

// Fate is what a link decided about a packet.
type Fate int

// The fates of a packet that enters a link.
const (
	Carried  Fate = iota // it arrives, unless the link is cut before
	Lost                 // by the random loss
	Overflow             // the queue was full
	Severed              // the link is cut
)

// Passage is what a link does to a packet.
type Passage struct {
	Fate    Fate
	Arrival time.Duration // at the far end, if it is carried
	Twice   bool          // it arrives twice
	Corrupt bool          // one of its bits is turned
	Bit     uint32        // which: modulo their number
}

// Link is one direction between two sites, as arithmetic: a queue that is served at a rate, and a
// wire of some delay behind it. It has neither clock nor packets: time is given to it, as a duration
// since any fixed moment, and never goes back. It is not safe for concurrent use.
type Link struct {
	conditions Conditions
	dice       dice
	maxWait    time.Duration // what the queue's bytes take to transmit
	busyUntil  time.Duration // when the transmitter is through with what it was given
	lastArrive time.Duration // of what keeps its order, also when the delay shrinks
}

// dice are the random decisions, of a sequence each: one that is switched on or off changes no other.
type dice struct{ loss, jitter, reorder, duplicate, corrupt *rand.Rand }

func newDice(seed1, seed2 uint64) dice {
	var d dice
	for i, r := range []**rand.Rand{&d.loss, &d.jitter, &d.reorder, &d.duplicate, &d.corrupt} {
		*r = rand.New(rand.NewPCG(seed1, seed2+uint64(i)))
	}
	return d
}

// falls says whether something with this probability happens.
func falls(r *rand.Rand, share float64) bool { return share > 0 && r.Float64() < share }

// NewLink returns an idle link. Links of equal seeds do the same to the same packets.
func NewLink(c Conditions, seed1, seed2 uint64) *Link {
	l := &Link{dice: newDice(seed1, seed2)}
	l.SetConditions(0, c)
	return l
}

// Conditions returns what the link does at present.
func (l *Link) Conditions() Conditions { return l.conditions }

// SetConditions changes the link at time now. Bytes that wait in the queue count at the new rate;
// packets already given an arrival keep it, as they would on a wire. A cut loses them all: the caller
// forgets them, and so does the link.
func (l *Link) SetConditions(now time.Duration, c Conditions) {
	if old := l.conditions.Rate; l.busyUntil > now && old > 0 {
		waiting := float64(l.busyUntil-now) * float64(old) / 8e9
		l.busyUntil = now + c.Rate.transmission(int64(waiting))
	}
	if c.Cut {
		l.busyUntil, l.lastArrive = 0, 0
	}
	l.conditions = c
	l.maxWait = c.Rate.transmission(c.QueueBytes())
}

// Enqueue gives the link a packet of size bytes at time now, and returns what becomes of it. A packet
// larger than the queue passes when nothing waits.
func (l *Link) Enqueue(now time.Duration, size int) Passage {
	c := &l.conditions
	if c.Cut {
		return Passage{Fate: Severed}
	}
	if falls(l.dice.loss, c.Loss) {
		return Passage{Fate: Lost}
	}
	took := c.Rate.transmission(int64(size))
	wait := l.busyUntil - now
	if wait > 0 && c.Rate > 0 && wait+took > l.maxWait {
		return Passage{Fate: Overflow}
	}
	l.busyUntil = max(now, l.busyUntil) + took
	p := Passage{Arrival: l.busyUntil + l.delay()}
	if !c.Unordered {
		l.lastArrive = max(l.lastArrive, p.Arrival)
		p.Arrival = l.lastArrive
	}
	if falls(l.dice.reorder, c.Reorder) {
		p.Arrival += c.HoldBack
	}
	p.Twice = falls(l.dice.duplicate, c.Duplicate)
	if falls(l.dice.corrupt, c.Corrupt) {
		p.Corrupt, p.Bit = true, l.dice.corrupt.Uint32()
	}
	return p
}

// delay draws from a normal distribution, truncated.
func (l *Link) delay() time.Duration {
	const truncated = 3 // deviations
	c := &l.conditions
	if c.Jitter == 0 {
		return c.Delay
	}
	x := l.dice.jitter.NormFloat64()
	for x < -truncated || x > truncated {
		x = l.dice.jitter.NormFloat64()
	}
	return max(0, c.Delay+time.Duration(x*float64(c.Jitter)))
}
