package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// result is what became of a case.
type result struct {
	Name         string   `json:"name"`
	Point        string   `json:"point"`
	Fault        string   `json:"fault"`
	From         string   `json:"from"`
	To           string   `json:"to"`
	Leader       string   `json:"leader"` // of the mesh, when it began
	Hit          bool     `json:"hit"`    // the fault struck at its point
	At           string   `json:"at"`     // where the pod serves afterwards
	Lost         string   `json:"lost"`   // what is said of a pod that was lost with its host
	Answer       string   `json:"answer"` // what whoever asked for the move heard
	Settled      float64  `json:"settled_s"`
	Seconds      float64  `json:"s"`
	Acknowledged int64    `json:"acknowledged"`
	Looks        int      `json:"looks"` // at where the pod runs
	LongestLook  float64  `json:"longest_look_ms"`
	TwoRunning   []string `json:"two_running"`
	LostAck      int64    `json:"lost_ack"` // acknowledged increments that are lost, or were done twice
	Reset        bool     `json:"reset"`    // of the connection to a pod that survived
	Leaks        []string `json:"leaks"`
	Stuck        bool     `json:"stuck"`
	Problems     []string `json:"problems"`
	Dirty        bool     `json:"dirty"` // the mesh can't be used any more

	over bool             // nothing is left to compare
	logs map[string]int64 // where its part of the agents' logs begins
}

func (r *result) fail(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r result) ok() bool { return r.Hit && len(r.Problems) == 0 }

// String is the case in a line.
func (r result) String() string {
	word, what := "ok", "on "+r.At
	switch {
	case !r.ok():
		word, what = "FAIL", strings.Join(r.Problems, "; ")
	case r.Lost != "":
		what = "on " + r.At + ", said to be lost: " + r.Lost
	}
	return fmt.Sprintf("%-4s  %-17s  %-16s  %s -> %s  %4.1f s  %s", word, r.Point, r.Fault, r.From, r.To, r.Seconds, what)
}

// summary are the promises, counted.
type summary struct {
	Cases      int `json:"cases"`
	Hit        int `json:"hit"`
	TwoRunning int `json:"two_running"`
	LostAck    int `json:"lost_ack"`
	Resets     int `json:"resets_where_pod_survived"`
	Leaks      int `json:"leaks"`
	Stuck      int `json:"stuck"`
}

func summarise(results []result) (s summary, failed int) {
	for _, r := range results {
		s.Cases++
		s.Hit += count(r.Hit)
		s.TwoRunning += count(len(r.TwoRunning) > 0)
		s.LostAck += count(r.LostAck > 0)
		s.Resets += count(r.Reset)
		s.Leaks += count(len(r.Leaks) > 0)
		s.Stuck += count(r.Stuck)
		failed += count(!r.ok())
	}
	return s, failed
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// finish prints the table and the sums, writes the report, and returns an error if a promise was broken.
func finish(out io.Writer, o options, results []result) error {
	printTable(out, results)
	s, failed := summarise(results)
	var seconds float64
	for _, r := range results {
		seconds += r.Seconds
	}
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "crash: %.0f s, %.1f s a case\n%s\n", seconds, seconds/float64(max(1, len(results))), line)
	if o.report != "" {
		text, err := json.MarshalIndent(struct {
			summary
			Seed  uint64   `json:"seed"`
			Cases []result `json:"results"`
		}{s, o.seed, results}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(o.report), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(o.report, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d cases", errFound, failed, s.Cases)
	}
	if s.Cases == 0 {
		return errors.New("no case was tried")
	}
	return nil
}

// printTable shows points by faults: a case that held, one that didn't, one that was not tried, and what has no meaning.
func printTable(out io.Writer, results []result) {
	cells := map[string]string{}
	for _, c := range allCases() {
		cells[c.name()] = "."
	}
	for _, r := range results {
		cells[r.Name] = "FAIL"
		if r.ok() {
			cells[r.Name] = "ok"
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\nPOINT")
	for _, f := range faults() {
		fmt.Fprint(w, "\t", strings.ToUpper(f.name))
	}
	for _, p := range points {
		fmt.Fprint(w, "\n", p)
		for _, f := range faults() {
			cell, ok := cells[testCase{p, f}.name()]
			if !ok {
				cell = "-"
			}
			fmt.Fprint(w, "\t", cell)
		}
	}
	fmt.Fprint(w, "\n\n")
	_ = w.Flush() // to a person's terminal
}
