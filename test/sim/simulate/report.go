package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/drover-mesh/drover/test/sim"
)

// enough is how many seeds must have met everything rare: fewer may miss something by chance.
const enough = 1000

// last is how much of a trace is shown of a run that broke a rule; all of it comes with the seed.
const last = 80

// report is what -o json writes.
type report struct {
	sim.Summary
	First *violation `json:"first_violation"` // null if there is none
}

// violation is a run that broke a rule.
type violation struct {
	Seed   uint64   `json:"seed"`
	Rule   string   `json:"rule"`
	What   string   `json:"what"`
	AtNS   int64    `json:"at_ns"`
	Replay string   `json:"replay"`
	Trace  []string `json:"trace"`
}

func reported(r sim.Run, whole bool) violation {
	v := violation{Seed: r.Seed, Trace: r.Trace, Replay: fmt.Sprintf("make sim SEED=%d", r.Seed)}
	if r.Violation != nil {
		v.Rule, v.What, v.AtNS = r.Violation.Rule, r.Violation.What, int64(r.Violation.At)
	}
	if !whole && len(v.Trace) > last {
		v.Trace = v.Trace[len(v.Trace)-last:]
	}
	return v
}

// tell shows what came of many seeds. It fails if a rule was broken, or if something that must happen never did.
func (o options) tell(w io.Writer, s sim.Summary) error {
	r := report{Summary: s}
	if s.First != nil {
		v := reported(sim.Once(s.First.Seed, true), false) // once more, to tell
		r.First = &v
	}
	if o.output == "json" {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			return err
		}
	} else {
		o.write(w, r)
	}
	if s.Violations > 0 || s.Seeds >= enough && len(s.Never) > 0 {
		return errFound
	}
	return nil
}

func (o options) write(w io.Writer, r report) {
	for _, what := range sim.Rarities() {
		fmt.Fprintf(w, "  %-36s %d\n", what, r.Seen[what])
	}
	if v := r.First; v != nil {
		fmt.Fprintf(w, "\nthe end of seed %d:\n", v.Seed)
		for _, line := range v.Trace {
			fmt.Fprintln(w, line)
		}
		fmt.Fprintf(w, "\nseed %d broke the rule: %s\n  %s\n  all of it: %s\n", v.Seed, v.Rule, v.What, v.Replay)
	}
	for _, what := range r.Never {
		fmt.Fprintf(w, "never happened: %s%s\n", what, map[bool]string{true: "", false: " (it may, in so few seeds)"}[r.Seeds >= enough])
	}
	fmt.Fprintf(w, "seeds=%d violations=%d\n", r.Seeds, r.Violations)
}
