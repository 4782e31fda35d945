package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
)

func newLabList(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "Show the labs of this machine, their sites and links",
		Args:  cobra.NoArgs,
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
			if wantsJSON(cmd) {
				return writeJSON(cmd.OutOrStdout(), labs)
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
	if err := printLinks(w, l.Links); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

// printSites shows how sites differ from the machine only if some do.
func printSites(w io.Writer, sites []lab.SiteStatus) error {
	var rows [][]string
	for _, s := range sites {
		rows = append(rows, []string{s.Name, s.Address.String(), number(s.InitPID), number(s.AgentPID), fmt.Sprint(s.Restarts)})
	}
	titles := []string{"SITE", "ADDRESS", "INIT", "AGENT", "RESTARTS"}
	column := func(title string, cell func(lab.SiteStatus) string) {
		differ := func(s lab.SiteStatus) bool { return cell(s) != "" }
		if !slices.ContainsFunc(sites, differ) {
			return
		}
		titles = append(titles, title)
		for i, s := range sites {
			rows[i] = append(rows[i], cell(s))
		}
	}
	column("CLOCK", func(s lab.SiteStatus) string {
		if s.ClockS == 0 {
			return ""
		}
		return fmt.Sprintf("%+gs", s.ClockS)
	})
	return table(w, titles, rows)
}

// number is n, or empty for none.
func number[T int | uint64](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func printLinks(w io.Writer, links []lab.LinkStatus) error {
	var rows [][]string
	for _, l := range links {
		state := "up"
		if l.Cut {
			state = "cut"
		}
		c := l.Counters
		rows = append(rows, []string{
			l.From + " > " + l.To, state, fmt.Sprintf("%gms", l.DelayMS), wan.Rate(l.RateBit).String(), fmt.Sprintf("%g%%", l.Loss*100),
			number(c.Delivered.Packets), size(int64(c.Delivered.Bytes)), number(c.Lost.Packets), number(c.Overflow.Packets), number(c.Cut.Packets),
		})
	}
	return table(w, []string{"LINK", "STATE", "DELAY", "RATE", "LOSS", "DELIVERED", "BYTES", "LOST", "OVERFLOW", "CUT"}, rows)
}
