package main

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
)

// end is one of the two nodes of a move.
type end string

const (
	source end = "source"
	target end = "target"
)

// points are where a move can be stopped (agent/migrate/points.go), in the order in which it comes by.
var points = []point{
	"source.preflight", "target.preflight",
	"source.reserve", "target.reserve",
	"source.presync", "target.presync",
	"source.freeze",
	"source.final", "source.seized", "target.final", "source.dumped",
	"target.restore", "target.activate", "target.gate",
	"target.resume", "target.release", "target.complete",
	"source.retire", "target.retire",
}

// point is a place of a move: END.STEP.
type point string

func (p point) end() end {
	name, _, _ := strings.Cut(string(p), ".")
	return end(name)
}

// at is the point's place in the order.
func (p point) at() int { return slices.Index(points, p) }

// from says that the move has come as far as to other.
func (p point) from(other point) bool { return p.at() >= other.at() }

// testCase is a fault that strikes at a point.
type testCase struct {
	point point
	fault fault
}

func (c testCase) name() string { return string(c.point) + " x " + c.fault.name }

// survives says whether a host with all that the pod is outlives the fault: the source has it until all has arrived at the
// target, and its frozen copy is as good until the pod runs there.
func (c testCase) survives() bool {
	switch c.fault.loses {
	case source:
		return c.point.from("target.restore")
	case target:
		return !c.point.from("target.release")
	}
	return true
}

func allCases() (all []testCase) {
	for _, p := range points {
		for _, f := range faults() {
			if f.fits == nil || f.fits(p) {
				all = append(all, testCase{p, f})
			}
		}
	}
	return all
}

// choose takes from all cases those that are asked for. A sample is spread: next comes a case whose point and fault have
// been taken least often.
func choose(all []testCase, o options) (chosen []testCase) {
	all = slices.DeleteFunc(all, func(c testCase) bool { return !strings.Contains(c.name(), o.only) })
	if o.cases == 0 || o.cases >= len(all) {
		return all
	}
	dice := rand.New(rand.NewPCG(o.seed, 0))
	dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	taken := map[string]int{}
	for range o.cases {
		next := slices.MinFunc(all, func(a, b testCase) int {
			return cmp.Compare(taken[a.fault.name]+taken[string(a.point)], taken[b.fault.name]+taken[string(b.point)])
		})
		taken[next.fault.name]++
		taken[string(next.point)]++
		chosen = append(chosen, next)
		all = slices.DeleteFunc(all, func(c testCase) bool { return c.name() == next.name() })
	}
	return chosen
}
