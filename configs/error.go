package configs

import (
	"fmt"
	"slices"
	"strings"
)

// Error is all that is wrong with a configuration, in the order of its lines.
type Error struct {
	File     string
	Problems []Problem
}

// Problem is one thing that is wrong.
type Problem struct {
	Line, Column int    // from 1; 0 if the problem is that something isn't there
	Source       string // the line
	Field        string // path of the field, such as overlay.vni
	Why          string
	Valid        string // what would be valid; may be empty
}

func newError(file string, data []byte, problems []Problem) *Error {
	lines := strings.Split(string(data), "\n")
	for i, p := range problems {
		if p.Line > 0 && p.Line <= len(lines) {
			problems[i].Source = strings.TrimRight(lines[p.Line-1], "\r")
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{File: file, Problems: problems}
}

// Error shows every problem as FILE:LINE:COLUMN, the line itself and what would be valid.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		fmt.Fprintf(&b, ": %s", p.Why)
		if p.Source != "" {
			number := fmt.Sprint(p.Line)
			before := []rune(p.Source)
			before = before[:min(max(p.Column-1, 0), len(before))]
			for i, r := range before {
				if r != '\t' {
					before[i] = ' '
				}
			}
			fmt.Fprintf(&b, "\n    %s | %s\n    %s | %s^", number, p.Source, strings.Repeat(" ", len(number)), string(before))
		}
		if p.Valid != "" {
			fmt.Fprintf(&b, "\n  valid: %s", p.Valid)
		}
	}
	return b.String()
}

// nearest returns the candidate that s was probably meant to be, or "".
func nearest(s string, candidates []string) string {
	best, distance := "", 3 // two typing errors
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(s), strings.ToLower(c)); d < distance && 2*d <= len(c) {
			best, distance = c, d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete or change (Levenshtein's distance).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
