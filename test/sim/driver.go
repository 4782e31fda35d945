package sim

import (
	"container/heap"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// A driver owns virtual time and chance. It delivers one event at a time, each to one process, so that a run depends on
// its seed and on nothing else. Nothing in this package starts a goroutine, reads a clock or ranges over a map whose
// order would show.
type driver struct {
	*rand.Rand
	now       time.Duration // since the beginning of the run
	queue     events
	seq       uint64
	delivered int
	trace     *trace
	after     func() // called after every event
}

// A process takes events one by one. What dies with it are the events that were meant for it.
type process struct {
	name string
	life int // grows with every death
	dead bool
	host *host // nil for what lives outside the hosts
}

// kill ends a process: it hears nothing more.
func (p *process) kill() {
	p.dead = true
	p.life++
}

// start begins the next life of a process.
func (p *process) start() { p.dead = false }

type event struct {
	at   time.Duration
	seq  uint64
	to   *process
	life int // of the process when the event was made, or anyLife
	what string
	do   func()
}

// anyLife marks what comes from outside, as a packet does, for whoever lives there by then.
const anyLife = -1

func newDriver(seed uint64, keep bool) *driver {
	return &driver{Rand: rand.New(rand.NewPCG(seed, 0x64726f766572)), trace: newTrace(keep)}
}

// timer lets this life of a process hear of something in a while.
func (d *driver) timer(p *process, in time.Duration, what string, do func()) {
	d.push(event{at: d.now + in, to: p, life: p.life, what: what, do: do})
}

// post lets whichever life of a process there is by then hear of something.
func (d *driver) post(p *process, in time.Duration, what string, do func()) {
	d.push(event{at: d.now + in, to: p, life: anyLife, what: what, do: do})
}

func (d *driver) push(e event) {
	d.seq++
	e.seq = d.seq
	heap.Push(&d.queue, e)
}

// run delivers all events up to a moment.
func (d *driver) run(until time.Duration) {
	for len(d.queue) > 0 && d.queue[0].at <= until {
		d.step()
	}
	d.now = max(d.now, until)
}

// wake delivers what a host has slept through, in the order in which it would have come.
func (d *driver) wake(h *host) {
	for _, e := range h.waiting {
		e.at = d.now
		d.push(e)
	}
	h.waiting = nil
}

func (d *driver) step() {
	e := heap.Pop(&d.queue).(event)
	d.now = max(d.now, e.at)
	switch {
	case e.to.dead, e.life != anyLife && e.life != e.to.life:
		return
	case e.to.host != nil && e.to.host.asleep:
		e.to.host.waiting = append(e.to.host.waiting, e)
		return
	}
	d.delivered++
	d.trace.event(d.now, e.to.name, e.what)
	e.do()
	if d.after != nil {
		d.after()
	}
}

// oneIn is true once in n times.
func (d *driver) oneIn(n int) bool { return d.IntN(n) == 0 }

// between is a moment from a to b.
func (d *driver) between(a, b time.Duration) time.Duration {
	return a + time.Duration(d.Int64N(int64(b-a)+1))
}

// events is a heap, the earliest first, then the one made first.
type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = event{}
	*q = (*q)[:len(*q)-1]
	return last
}

// hash64 mixes what a workload has seen with what it sees next.
func hash64(h uint64, input uint64) uint64 {
	f := fnv.New64a()
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(h>>(8*i)), byte(input>>(8*i))
	}
	_, _ = f.Write(b[:]) // never fails
	return f.Sum64()
}
