package sim

import "time"

// How long a run is, in virtual time.
const (
	looking = 500 * time.Millisecond
)

// A Run is what came of a seed.
type Run struct {
	Seed      uint64
	Violation *Violation // nil if every rule held
	Seen      map[string]int
	Events    int
	Time      time.Duration // virtual
	Sum       uint64        // of the trace: equal runs have equal sums
	Trace     []string      // if it was asked for
}

// Once lets one seed run. With keep it also tells what happened.
func Once(seed uint64, keep bool) Run {
	d := newDriver(seed, false)
	names := []string{"ams", "fra", "nyc", "sin", "syd"}[:3+d.IntN(3)]
	w := newWorld(seed, keep, names, 3)
	w.found(1 + w.d.IntN(2))
	w.live()
	for until := w.d.between(30*time.Second, 90*time.Second); w.d.now < until && w.broken == nil; {
		w.d.run(min(until, w.d.now+looking))
	}
	w.heal()
	for until := w.d.now + settleWithin; w.broken == nil; {
		w.d.run(w.d.now + looking)
		unsettled := w.unsettled()
		if unsettled == "" {
			break
		}
		if w.d.now >= until {
			w.violated(ruleHealed, "%s after everything was put right: %s", settleWithin, unsettled)
		}
	}
	seen := map[string]int{}
	for _, r := range rare() {
		seen[string(r)] = w.seen[r]
	}
	return Run{Seed: seed, Violation: w.broken, Seen: seen, Events: w.d.delivered, Time: w.d.now, Sum: w.d.trace.sum, Trace: w.d.trace.lines}
}
