package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// movesOfAPod is how often a pod moves in a soak, with the same client on the same connection, before another takes its place.
const movesOfAPod = 8

// soak moves pods at random, strikes at random what they survive, and looks whether anything grows.
func soak(ctx context.Context, g *ground, o options) error {
	fmt.Fprintf(g.out, "soak: %s, seed %d\n", o.soak, o.seed)
	dice := rand.New(rand.NewPCG(o.seed, 2))
	var results []result
	var growth growth
	begun := time.Now()
	for n := uint64(1); time.Since(begun) < o.soak && ctx.Err() == nil; n++ {
		round := g.round(ctx, dice, o.seed+n)
		results = append(results, round...)
		for _, r := range round {
			fmt.Fprintf(g.out, "%6s  %s\n", time.Since(begun).Truncate(time.Second), r)
			if !r.ok() {
				g.keepLogs(o.logs, r)
			}
		}
		if last := round[len(round)-1]; last.Dirty {
			if err := g.renew(ctx); err != nil {
				return errors.Join(err, finishSoak(g, o, results, growth))
			}
			growth.renewed()
			continue
		}
		if err := growth.sample(ctx, g, time.Since(begun)); err != nil {
			g.say(err.Error())
		}
	}
	return errors.Join(finishSoak(g, o, results, growth), ctx.Err())
}

// plain is a move at which nothing strikes.
func plain() fault {
	return fault{name: "none", strike: func(context.Context, *trial) error { return nil }}
}

// round is a pod's life: moves, some of which are struck, over which one client counts on one connection.
func (g *ground) round(ctx context.Context, dice *rand.Rand, seed uint64) (results []result) {
	survived := slices.DeleteFunc(allCases(), func(c testCase) bool { return !c.survives() || c.fault.policy })
	t := &trial{ground: g, testCase: testCase{points[0], plain()}}
	r := t.result()
	if err := t.begin(ctx, seed, &r); err != nil {
		r.fail("it could not begin: %v", err)
		r.Dirty = true
		return []result{r}
	}
	for i := range movesOfAPod {
		c := testCase{points[dice.IntN(len(points))], plain()}
		if dice.IntN(2) == 0 {
			c = survived[dice.IntN(len(survived))]
		}
		others := slices.DeleteFunc(g.names(), func(s string) bool { return s == t.pod.Node })
		t = &trial{ground: g, testCase: c, pod: t.pod, counter: t.counter, moved: make(chan struct{}), source: t.pod.Node, target: others[dice.IntN(len(others))]}
		begun := time.Now()
		r := t.result()
		r.From, r.To = t.source, t.target
		if err := until(ctx, time.Minute, g.whole); err != nil {
			r.fail("the mesh is not whole: %v", err)
			r.Dirty, r.over = true, true
		} else {
			t.run(ctx, &r)
		}
		if i == movesOfAPod-1 || !r.ok() {
			t.compare(ctx, &r)
			g.clear(ctx, &r)
			r.Seconds = time.Since(begun).Seconds()
			return append(results, r)
		}
		r.Seconds = time.Since(begun).Seconds()
		t.pod.Node = r.At
		results = append(results, r)
	}
	return results
}

func (g *ground) names() (names []string) {
	for _, s := range g.Sites() {
		names = append(names, s.Name)
	}
	return names
}

// finishSoak prints the sums and what has grown.
func finishSoak(g *ground, o options, results []result, grown growth) error {
	s, failed := summarise(results)
	slopes := grown.slopes()
	fmt.Fprintf(g.out, "\nsoak: %d moves, %d of them struck; seed %d\n", len(results), struck(results), o.seed)
	printSlopes(g.out, slopes)
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	fmt.Fprintf(g.out, "%s\n", line)
	if o.report != "" {
		text, err := json.MarshalIndent(struct {
			summary
			Seed   uint64   `json:"seed"`
			Slopes []slope  `json:"slopes"`
			Moves  []result `json:"moves"`
		}{s, o.seed, slopes, results}, "", "  ")
		if err != nil {
			return err
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(o.report), 0o755), os.WriteFile(o.report, append(text, '\n'), 0o644)); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d moves", errFound, failed, s.Cases)
	}
	if steep := slices.IndexFunc(slopes, slope.steep); steep >= 0 {
		return fmt.Errorf("%w: %s grow by %.1f an hour", errFound, slopes[steep].Of, slopes[steep].PerHour)
	}
	if s.Cases == 0 {
		return errors.New("nothing was moved")
	}
	return nil
}

func struck(results []result) (n int) {
	for _, r := range results {
		n += count(r.Fault != plain().name)
	}
	return n
}
