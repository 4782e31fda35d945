package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
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
			if flags.json() {
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
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SITE\tADDRESS\tINIT\tAGENT\tRESTARTS")
	for _, s := range l.Sites {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\n", s.Name, s.Address, pid(s.InitPID), pid(s.AgentPID), s.Restarts)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printLinks(w, l.Links); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

func pid(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func printLinks(w io.Writer, links []lab.LinkStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "LINK\tDELAY\tRATE\tLOSS\tSTATE\tDELIVERED\tBYTES\tLOST\tOVERFLOW\tCUT")
	for _, l := range links {
		state := "up"
		if l.Cut {
			state = "cut"
		}
		c := l.Counters
		fmt.Fprintf(table, "%s > %s\t%gms\t%v\t%g%%\t%s\t%d\t%d\t%d\t%d\t%d\n", l.From, l.To, l.DelayMS, wan.Rate(l.RateBit), l.Loss*100, state,
			c.Delivered.Packets, c.Delivered.Bytes, c.Lost.Packets, c.Overflow.Packets, c.Cut.Packets)
	}
	return table.Flush()
}
