package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/drover-mesh/drover/test/sim/broken"
)

// self is the package of this program.
const self = "./test/sim/simulate"

// tried is what came of a break.
type tried struct {
	Rule   string  `json:"rule"`
	Caught bool    `json:"caught"`
	By     string  `json:"by,omitempty"`   // the rule of the simulation that did not hold
	Seed   *uint64 `json:"seed,omitempty"` // the lowest that shows it
	What   string  `json:"what,omitempty"`
	TookNS int64   `json:"took_ns"`
}

// breakOne builds with one rule broken, and fails as that build does.
func (o options) breakOne(ctx context.Context, w io.Writer) error {
	b, ok := broken.Find(o.rule)
	if !ok {
		var known []string
		for _, b := range broken.Breaks() {
			known = append(known, b.Rule)
		}
		return fmt.Errorf("no break is called %q; there are: %s", o.rule, strings.Join(known, ", "))
	}
	t, err := o.try(ctx, b)
	if err != nil {
		return err
	}
	if err := o.tellTried(w, t); err != nil || !t.Caught {
		return err
	}
	return errFound
}

// breakAll breaks each rule in turn, and fails unless every break was found.
func (o options) breakAll(ctx context.Context, w io.Writer) error {
	missed := 0
	for _, b := range broken.Breaks() {
		t, err := o.try(ctx, b)
		if err != nil {
			return err
		}
		if !t.Caught {
			missed++
		}
		if err := o.tellTried(w, t); err != nil {
			return err
		}
	}
	if o.output == "text" {
		fmt.Fprintf(w, "breaks=%d caught=%d\n", len(broken.Breaks()), len(broken.Breaks())-missed)
	}
	if missed > 0 {
		return errFound
	}
	return nil
}

func (o options) tellTried(w io.Writer, t tried) error {
	switch {
	case o.output == "json":
		return json.NewEncoder(w).Encode(t)
	case t.Caught:
		fmt.Fprintf(w, "%-26s caught by seed %d: %s\n%-26s %s\n", t.Rule, *t.Seed, t.By, "", t.What)
	default:
		fmt.Fprintf(w, "%-26s NOT CAUGHT in %d seeds\n", t.Rule, o.seeds)
	}
	return nil
}

// try builds this program with a break, and runs that.
func (o options) try(ctx context.Context, b broken.Break) (tried, error) {
	t, begun := tried{Rule: b.Rule}, time.Now()
	root, err := moduleRoot(ctx)
	if err != nil {
		return t, err
	}
	dir, err := os.MkdirTemp("", "drover-sim-")
	if err != nil {
		return t, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nobody needs what may be left
	program := filepath.Join(dir, "simulate")
	if err := b.Build(ctx, root, dir, self, program); err != nil {
		return t, err
	}
	run := exec.CommandContext(ctx, program, "-o", "json", "-until-broken", "-seeds", strconv.Itoa(o.seeds), "-workers", strconv.Itoa(o.workers))
	run.Stderr = os.Stderr
	out, err := run.Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		return t, fmt.Errorf("running with %q broken: %w", b.Rule, err)
	}
	var r struct {
		First *violation `json:"first_violation"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return t, fmt.Errorf("running with %q broken: %w", b.Rule, err)
	}
	t.TookNS = int64(time.Since(begun))
	if v := r.First; v != nil {
		t.Caught, t.By, t.Seed, t.What = true, v.Rule, &v.Seed, v.What
	}
	return t, nil
}

// moduleRoot is where the sources are.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the sources: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
