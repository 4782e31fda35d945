// Command crash strikes moves at each of their steps with each fault that it knows, on a real mesh in a lab, and looks at
// what is left: does the pod run at one place at most, all the time; is anything lost that a client was told; does anything
// stay behind. See docs/drills.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/drover-mesh/drover/test/lab"
)

// labName is the name of the lab that is used, and taken down at the end.
const labName = "crash"

type options struct {
	drover string        // the binary
	report string        // file for the results as JSON
	cases  int           // 0: all
	seed   uint64        // of the sample, of who moves where, and of a soak
	only   string        // part of a case's name
	soak   time.Duration // instead of the table
	logs   string        // directory for the agents' logs if something fails
}

func main() {
	var o options
	flag.StringVar(&o.drover, "drover", "bin/drover", "`path` of the binary")
	flag.StringVar(&o.report, "report", "", "`file` for the results as JSON")
	flag.IntVar(&o.cases, "cases", 0, "`number` of cases, spread over steps and faults; 0 is all")
	flag.Uint64Var(&o.seed, "seed", 1, "`seed` of all that is chosen")
	flag.StringVar(&o.only, "only", "", "only cases whose name contains this `text`, such as source.final or target-host")
	flag.DurationVar(&o.soak, "soak", 0, "move and strike at random for so long, instead of the table")
	flag.StringVar(&o.logs, "logs", "", "`directory` for the agents' logs of cases that failed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

// errFound says that the zeros are none.
var errFound = errors.New("a promise was broken: see above")

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root: it makes namespaces, mounts and cgroups")
	}
	before, err := lab.Snapshot()
	if err != nil {
		return err
	}
	g, err := newGround(ctx, o, out)
	if err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, g.down(clean))
		leaks, lookErr := before.Leaks(clean)
		if err = errors.Join(err, lookErr); len(leaks) > 0 {
			err = errors.Join(err, fmt.Errorf("left behind on this machine: %v", leaks))
		}
	}()
	if o.soak > 0 {
		return soak(ctx, g, o)
	}
	return table(ctx, g, o)
}

// table runs the cases that are asked for, one after the other, and says what became of them.
func table(ctx context.Context, g *ground, o options) error {
	cases := choose(allCases(), o)
	if len(cases) == 0 {
		return fmt.Errorf("no case has %q in its name", o.only)
	}
	fmt.Fprintf(g.out, "crash: %d cases, seed %d\n", len(cases), o.seed)
	var results []result
	for i, c := range cases {
		if ctx.Err() != nil {
			break
		}
		r := g.try(ctx, c, o.seed+uint64(i))
		results = append(results, r)
		fmt.Fprintf(g.out, "%3d/%d  %s\n", i+1, len(cases), r)
		if !r.ok() {
			g.keepLogs(o.logs, r)
		}
		if r.Dirty { // what follows must not answer for it
			if err := g.renew(ctx); err != nil {
				return errors.Join(err, finish(g.out, o, results))
			}
		}
	}
	return errors.Join(finish(g.out, o, results), ctx.Err())
}
