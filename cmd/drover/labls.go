package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
)

func newLabList(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"status"},
		Short:   "Show the labs of this machine, their sites and links",
		Example: "  drover lab ls\n  drover lab ls --name demo -o yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			labs, err := lab.List(ctx)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("name") {
				labs = onlyLab(labs, flags.name)
			}
			if structured(outputOf(cmd)) {
				return writeAs(cmd.OutOrStdout(), outputOf(cmd), labs)
			}
			if len(labs) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "no lab: start one with drover lab up")
			}
			for _, l := range labs {
				if err := printLab(cmd.OutOrStdout(), l); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func onlyLab(labs []lab.Status, name string) []lab.Status {
	found := []lab.Status{}
	for _, l := range labs {
		if l.Name == name {
			found = append(found, l)
		}
	}
	return found
}

func printLab(w io.Writer, l lab.Status) error {
	fmt.Fprintf(w, "LAB %s: %s, since %s\n", l.Name, l.State, l.Created.Local().Format(time.DateTime))
	if l.Problem != "" {
		fmt.Fprintln(w, l.Problem)
	}
	if err := printSites(w, l.Sites); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if len(l.Links) > manyLinks {
		fmt.Fprintf(w, "%d links: drover lab wan --name %s [SITE-A SITE-B] shows them\n\n", len(l.Links), l.Name)
		return nil
	}
	if err := printLinks(w, l.Links); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

// manyLinks are more than fit on a screen.
const manyLinks = 30

// printSites shows how sites differ from the machine only if some do.
func printSites(w io.Writer, sites []lab.SiteStatus) error {
	t := newSheet(sites)
	t.column("SITE", func(s lab.SiteStatus) string { return s.Name })
	t.column("ADDRESS", func(s lab.SiteStatus) string { return s.Address.String() })
	t.column("INIT", func(s lab.SiteStatus) string { return number(s.InitPID) })
	t.column("AGENT", func(s lab.SiteStatus) string { return number(s.AgentPID) })
	t.column("RESTARTS", func(s lab.SiteStatus) string { return fmt.Sprint(s.Restarts) })
	t.columnIfAny("CLOCK", func(s lab.SiteStatus) string { return unlessZero("%+gs", s.ClockS) })
	t.columnIfAny("CPU WITHOUT", func(s lab.SiteStatus) string { return strings.Join(s.CPUMask, ",") })
	t.columnIfAny("DISK", func(s lab.SiteStatus) string {
		if s.Disk == 0 {
			return ""
		}
		return size(s.DiskUsed) + " of " + size(s.Disk)
	})
	return table(w, t.headings, t.rows)
}

// number is n, or empty for none.
func number[T int | uint64](n T) string { return unlessZero("%d", n) }

func unlessZero[T comparable](format string, value T) string {
	var zero T
	if value == zero {
		return ""
	}
	return fmt.Sprintf(format, value)
}

func share(s float64) string { return fmt.Sprintf("%g%%", s*100) }

// printLinks shows each kind of trouble only if there is some.
func printLinks(w io.Writer, links []lab.LinkStatus) error {
	t := newSheet(links)
	packets := func(title string, count func(wan.Counters) wan.Count) {
		t.columnIfAny(title, func(l lab.LinkStatus) string { return number(count(l.Counters).Packets) })
	}
	t.column("LINK", func(l lab.LinkStatus) string { return l.From + " > " + l.To })
	t.column("STATE", func(l lab.LinkStatus) string {
		if l.Cut {
			return "cut"
		}
		return "up"
	})
	t.column("DELAY", func(l lab.LinkStatus) string {
		if l.JitterMS > 0 {
			return fmt.Sprintf("%gms ±%gms", l.DelayMS, l.JitterMS)
		}
		return fmt.Sprintf("%gms", l.DelayMS)
	})
	t.column("RATE", func(l lab.LinkStatus) string { return wan.Rate(l.RateBit).String() })
	t.column("LOSS", func(l lab.LinkStatus) string { return share(l.Loss) })
	t.columnIfAny("REORDER", func(l lab.LinkStatus) string {
		switch {
		case l.Reorder > 0:
			return fmt.Sprintf("%s by %gms", share(l.Reorder), l.HoldBackMS)
		case l.Unordered && l.JitterMS > 0:
			return "by jitter"
		}
		return ""
	})
	t.column("DELIVERED", func(l lab.LinkStatus) string { return number(l.Counters.Delivered.Packets) })
	t.column("BYTES", func(l lab.LinkStatus) string { return size(int64(l.Counters.Delivered.Bytes)) })
	t.column("LOST", func(l lab.LinkStatus) string { return number(l.Counters.Lost.Packets) })
	t.column("OVERFLOW", func(l lab.LinkStatus) string { return number(l.Counters.Overflow.Packets) })
	t.column("CUT", func(l lab.LinkStatus) string { return number(l.Counters.Cut.Packets) })
	packets("REORDERED", func(c wan.Counters) wan.Count { return c.Reordered })
	packets("DUPLICATED", func(c wan.Counters) wan.Count { return c.Duplicated })
	packets("CORRUPTED", func(c wan.Counters) wan.Count { return c.Corrupted })
	return table(w, t.headings, t.rows)
}

// sheet puts a table together column by column.
type sheet[T any] struct {
	items    []T
	headings []string
	rows     [][]string
}

func newSheet[T any](items []T) *sheet[T] {
	return &sheet[T]{items: items, rows: make([][]string, len(items))}
}

func (s *sheet[T]) column(heading string, cell func(T) string) {
	s.headings = append(s.headings, heading)
	for i, item := range s.items {
		s.rows[i] = append(s.rows[i], cell(item))
	}
}

// columnIfAny adds the column only if a cell has something to tell.
func (s *sheet[T]) columnIfAny(heading string, cell func(T) string) {
	if slices.ContainsFunc(s.items, func(item T) bool { return cell(item) != "" }) {
		s.column(heading, cell)
	}
}
