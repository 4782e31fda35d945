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

// Link is one direction between two sites, as arithmetic: a queue that is served at a rate, and a
// wire of some delay behind it. It has neither clock nor packets: time is given to it, as a duration
// since any fixed moment, and never goes back. It is not safe for concurrent use.
type Link struct {
	conditions Conditions
	random     *rand.Rand
	maxWait    time.Duration // what the queue's bytes take to transmit
	busyUntil  time.Duration // when the transmitter is through with what it was given
	lastArrive time.Duration // a wire keeps the order, also when its delay shrinks
}

// NewLink returns an idle link. Equal seeds lose the same packets.
func NewLink(c Conditions, seed1, seed2 uint64) *Link {
	l := &Link{random: rand.New(rand.NewPCG(seed1, seed2))}
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

// Enqueue gives the link a packet of size bytes at time now, and returns when it arrives at the far
// end, or why it doesn't. A packet larger than the queue passes when nothing waits.
func (l *Link) Enqueue(now time.Duration, size int) (arrival time.Duration, fate Fate) {
	c := &l.conditions
	if c.Cut {
		return 0, Severed
	}
	if c.Loss > 0 && l.random.Float64() < c.Loss {
		return 0, Lost
	}
	took := c.Rate.transmission(int64(size))
	wait := l.busyUntil - now
	if wait > 0 && c.Rate > 0 && wait+took > l.maxWait {
		return 0, Overflow
	}
	l.busyUntil = max(now, l.busyUntil) + took
	l.lastArrive = max(l.lastArrive, l.busyUntil+c.Delay)
	return l.lastArrive, Carried
}
