package sim

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Summary is what came of many seeds.
type Summary struct {
	Seeds      int            `json:"seeds"`
	Violations int            `json:"violations"`
	Events     int            `json:"events"`
	Virtual    time.Duration  `json:"virtual_ns"` // time that passed in the simulated meshes
	Seen       map[string]int `json:"seen"`       // how often each rare thing happened
	Never      []string       `json:"never"`      // rare things that did not
	// First is the run of the lowest seed that broke a rule, nil if none did.
	First *Run `json:"-"`
}

// Many lets the seeds from first on run, on so many processors at a time. With stop it ends soon after the first
// violation.
func Many(first uint64, seeds, workers int, stop bool) Summary {
	return summarise(many(first, seeds, workers, stop))
}

// many returns the runs in the order of their seeds, nil for those that did not run.
func many(first uint64, seeds, workers int, stop bool) []*Run {
	var next, broken atomic.Int64
	runs := make([]*Run, seeds)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(seeds) && (!stop || broken.Load() == 0); i = next.Add(1) - 1 {
				r := Once(first+uint64(i), false)
				runs[i] = &r
				if r.Violation != nil {
					broken.Add(1)
				}
			}
		})
	}
	all.Wait()
	return runs
}

func summarise(runs []*Run) Summary {
	s := Summary{Seen: map[string]int{}, Never: []string{}}
	for _, r := range runs {
		if r == nil {
			continue
		}
		s.Seeds++
		s.Events += r.Events
		s.Virtual += r.Time
		for what, n := range r.Seen {
			s.Seen[what] += n
		}
		if r.Violation != nil {
			s.Violations++
			if s.First == nil {
				s.First = r
			}
		}
	}
	for _, r := range rare() {
		if s.Seen[string(r)] == 0 {
			s.Never = append(s.Never, string(r))
		}
	}
	return s
}

// Rarities lists what a run of many seeds must have met, in the order in which it is told.
func Rarities() []string {
	var all []string
	for _, r := range rare() {
		all = append(all, string(r))
	}
	return all
}
