package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/drover-mesh/drover/agent/drill"
)

// usage is something that agents or sites use. In an hour it may grow by so much before that counts as a leak: a soak of some
// minutes can't tell the noise of a heap from growth.
type usage struct {
	of    string
	limit float64
	look  func(seen) float64
}

// seen is what was found out of a site and its agent at one moment.
type seen struct {
	agent, init    int // process ids
	vitals         drill.Vitals
	resident       float64 // bytes
	mounts, groups int
	processes      int
	descriptors    int // of the agent
	threads        int
}

func usages() []usage {
	const mib = 1 << 20
	return []usage{
		{"agent: resident memory, MiB", 60, func(s seen) float64 { return s.resident / mib }},
		{"agent: heap, MiB", 40, func(s seen) float64 { return float64(s.vitals.Heap) / mib }},
		{"agent: goroutines", 120, func(s seen) float64 { return float64(s.vitals.Goroutines) }},
		{"agent: descriptors", 60, func(s seen) float64 { return float64(s.descriptors) }},
		{"agent: threads", 60, func(s seen) float64 { return float64(s.threads) }},
		{"site: mounts", 5, func(s seen) float64 { return float64(s.mounts) }},
		{"site: cgroups", 5, func(s seen) float64 { return float64(s.groups) }},
		{"site: processes", 10, func(s seen) float64 { return float64(s.processes) }},
	}
}

func entries(pattern string, pid int) int {
	found, _ := filepath.Glob(fmt.Sprintf(pattern, pid))
	return len(found)
}

// spare is how many goroutines and descriptors an agent may have more than at the beginning: each connection has some.
const spare = 50

// beyond says what an agent keeps that it had not.
func (s seen) beyond(before seen) (more []string) {
	if now, then := s.vitals.Goroutines, before.vitals.Goroutines; now > then+spare {
		more = append(more, fmt.Sprintf("the agent has %d goroutines, and had %d", now, then))
	}
	if s.descriptors > before.descriptors+spare {
		more = append(more, fmt.Sprintf("the agent has %d descriptors, and had %d", s.descriptors, before.descriptors))
	}
	return more
}

// look finds out what a site and its agent use now.
func (g *ground) look(ctx context.Context, site string) (s seen, err error) {
	if s.agent, err = g.AgentPID(ctx, site); err != nil {
		return s, err
	}
	status, err := g.SiteStatus(ctx, site)
	if err != nil {
		return s, err
	}
	s.init = status.InitPID
	text, err := os.ReadFile(filepath.Join(g.DrillDir(site), drill.VitalsFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s.vitals); err != nil {
		return s, err
	}
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.agent)) // proc_pid_statm(5)
	if err != nil {
		return s, err
	}
	var size, resident int
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		return s, err
	}
	s.resident = float64(resident * os.Getpagesize())
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", s.init))
	if err != nil {
		return s, err
	}
	s.mounts = bytes.Count(mounts, []byte("\n"))
	s.processes = len(g.processes(site))
	s.descriptors, s.threads = entries("/proc/%d/fd/*", s.agent), entries("/proc/%d/task/*", s.agent)
	err = filepath.WalkDir(g.freezer+"/drover-lab-"+g.Name()+"/"+site, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			s.groups++
		}
		return err
	})
	return s, err
}

// growth is what was used over time.
type growth struct {
	lives []*life
	mesh  int // labs are counted
}

// life is one process of an agent: what it uses begins anew with the next.
type life struct {
	mesh    int
	site    string
	agent   int
	samples []sample
}

type sample struct {
	at     float64 // hours
	values []float64
}

// warm is how much of a life is left out at its beginning, in hours: an agent that has just started fills its caches.
const warm = 45.0 / 3600

// renewed says that all lives have ended.
func (g *growth) renewed() { g.mesh++ }

// sample looks at all sites, on which no pod is.
func (g *growth) sample(ctx context.Context, ground *ground, at time.Duration) error {
	var errs []error
	for _, site := range ground.names() {
		s, err := ground.look(ctx, site)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var values []float64
		for _, u := range usages() {
			values = append(values, u.look(s))
		}
		l := g.life(site, s.agent)
		l.samples = append(l.samples, sample{at.Hours(), values})
	}
	return errors.Join(errs...)
}

func (g *growth) life(site string, agent int) *life {
	for _, l := range g.lives {
		if l.mesh == g.mesh && l.site == site && l.agent == agent {
			return l
		}
	}
	l := &life{mesh: g.mesh, site: site, agent: agent}
	g.lives = append(g.lives, l)
	return l
}

// slope is by how much a usage grows.
type slope struct {
	Of      string  `json:"of"`
	Mean    float64 `json:"mean"`
	PerHour float64 `json:"per_hour"`
	Limit   float64 `json:"limit_per_hour"`
	Samples int     `json:"samples"`
	hours   float64 // of the longest life
}

// steep says that it grows for sure: the limit is passed, and that is not the noise of a short time.
func (s slope) steep() bool { return s.PerHour > s.Limit && s.PerHour*s.hours > s.Limit/4 }

// slopes fits, by least squares, one slope for all lives, of which each has a level of its own.
func (g *growth) slopes() (all []slope) {
	for i, u := range usages() {
		s := slope{Of: u.of, Limit: u.limit}
		var sum, xy, xx float64
		for _, l := range g.lives {
			var xs, ys []float64
			for _, at := range l.samples {
				if at.at-l.samples[0].at >= warm {
					xs, ys = append(xs, at.at), append(ys, at.values[i])
				}
			}
			if len(xs) == 0 {
				continue
			}
			mx, my := mean(xs), mean(ys)
			for j := range xs {
				xy += (xs[j] - mx) * (ys[j] - my)
				xx += (xs[j] - mx) * (xs[j] - mx)
				sum += ys[j]
			}
			s.Samples += len(xs)
			s.hours = max(s.hours, xs[len(xs)-1]-xs[0])
		}
		if xx > 0 {
			s.PerHour = xy / xx
		}
		s.Mean = sum / float64(max(1, s.Samples))
		all = append(all, s)
	}
	return all
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func printSlopes(out io.Writer, slopes []slope) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "USED BY\tMEAN\tAN HOUR\tLIMIT\tSAMPLES")
	for _, s := range slopes {
		fmt.Fprintf(w, "%s\t%.1f\t%+.2f\t%+.0f\t%d\n", s.Of, s.Mean, s.PerHour, s.Limit, s.Samples)
	}
	_ = w.Flush() // to a person's terminal
}
