// Command simulate runs meshes whose time, chance and faults come from a seed, and checks the rules of ownership after every
// event. See docs/simulation.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"

	"github.com/drover-mesh/drover/test/sim"
)

// options are the flags.
type options struct {
	seeds   int
	first   uint64
	seed    string
	rule    string
	breaks  bool
	output  string
	workers int
	until   bool
}

// errFound says that something was found, which has been told already.
var errFound = errors.New("a rule does not hold")

func main() {
	var o options
	flag.IntVar(&o.seeds, "seeds", 1000, "how many `seeds` to run")
	flag.Uint64Var(&o.first, "first", 0, "the `seed` that they begin with")
	flag.StringVar(&o.seed, "seed", "", "run this `seed` alone, and tell all that happens")
	flag.StringVar(&o.rule, "break", "", "break this `rule` in a build of its own, and run that: it must fail")
	flag.BoolVar(&o.breaks, "breaks", false, "break each rule in turn: fails unless every break is found")
	flag.StringVar(&o.output, "o", "text", "`format`: text or json")
	flag.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "how many run at a `time`")
	flag.BoolVar(&o.until, "until-broken", false, "end when a seed has broken a rule")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch err := o.run(ctx, os.Stdout); {
	case errors.Is(err, errFound):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(2)
	}
}

func (o options) run(ctx context.Context, w io.Writer) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("%q is not understood: see -help", strings.Join(flag.Args(), " "))
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("the format is text or json, not %q", o.output)
	case o.seeds < 1 || o.workers < 1:
		return errors.New("there is nothing to run: -seeds and -workers must be positive")
	case o.breaks:
		return o.breakAll(ctx, w)
	case o.rule != "":
		return o.breakOne(ctx, w)
	case o.seed != "":
		return o.replay(w)
	}
	return o.tell(w, sim.Many(o.first, o.seeds, o.workers, o.until))
}

// replay runs one seed and tells all of it.
func (o options) replay(w io.Writer) error {
	var seed uint64
	if _, err := fmt.Sscan(o.seed, &seed); err != nil {
		return fmt.Errorf("the seed is a number, not %q", o.seed)
	}
	r := sim.Once(seed, true)
	if o.output == "json" {
		if err := json.NewEncoder(w).Encode(reported(r, true)); err != nil {
			return err
		}
	} else {
		for _, line := range r.Trace {
			fmt.Fprintln(w, line)
		}
		fmt.Fprintf(w, "seed=%d violations=%d events=%d virtual=%s\n", r.Seed, count(r.Violation), r.Events, r.Time.Round(1e6))
	}
	if r.Violation != nil {
		return errFound
	}
	return nil
}

func count(v *sim.Violation) int {
	if v == nil {
		return 0
	}
	return 1
}
