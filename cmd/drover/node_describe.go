package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) nodeDescribe() *cobra.Command {
	return &cobra.Command{
		Use:     "describe NODE",
		Aliases: []string{"get"},
		Short:   "Show a node: conditions, labels, what it has, what is requested, its pods",
		Example: "  drover node describe fra\n  drover node describe fra -o json",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			node, err := client.GetNode(ctx, args[0])
			if err != nil {
				return err
			}
			return c.print(node, func(w io.Writer) error { return describeNode(w, node) })
		}),
	}
}

func describeNode(w io.Writer, n api.NodeDetails) error {
	rtt := ""
	if n.RTTms > 0 {
		rtt = milliseconds(n.RTTms)
	}
	pairs := [][2]string{
		{"Name", n.Name}, {"Site", n.Site}, {"Role", n.Role}, {"Status", nodeStatus(n.Node)}, {"Address", n.Address}, {"Gossip", n.Gossip},
		{"RTT", rtt}, {"Arch", n.Arch}, {"Kernel", n.Kernel}, {"CRIU", n.CRIU}, {"Version", n.Version},
	}
	if err := fields(w, pairs...); err != nil {
		return err
	}
	fmt.Fprintln(w, "Labels:")
	for _, label := range labelList(n.Labels) {
		fmt.Fprintln(w, "  "+label)
	}
	fmt.Fprintln(w, "Conditions:")
	if err := indented(w, []string{"TYPE", "STATUS", "REASON"}, nodeConditions(n)); err != nil {
		return err
	}
	fmt.Fprintln(w, "Resources:")
	if err := indented(w, []string{"RESOURCE", "CAPACITY", "REQUESTED", "SHARE"}, nodeResources(n.Node)); err != nil {
		return err
	}
	fmt.Fprintf(w, "Pods: %d\n", len(n.PodList))
	if len(n.PodList) > 0 {
		if err := indented(w, []string{"NAME", "STATUS", "CPU", "MEMORY", "NOTE"}, nodePods(n)); err != nil {
			return err
		}
	}
	for _, m := range n.Moves {
		fmt.Fprintf(w, "Moving: %s from %s to %s (%s)\n", m.Pod, m.From, m.To, m.Phase)
	}
	if len(n.Drained) > 0 {
		fmt.Fprintf(w, "Moved away by a drain: %s\n", strings.Join(n.Drained, ", "))
	}
	return nil
}

func nodeResources(n api.Node) [][]string {
	has, used := n.Capacity, n.Requested
	rows := [][]string{{"cpu", "", cores(used.CPUMilli), ""}, {"memory", "", size(used.MemoryBytes), ""}}
	if has.CPUMilli > 0 && has.MemoryBytes > 0 {
		rows[0][1], rows[0][3] = cores(has.CPUMilli), percent(used.CPUMilli, has.CPUMilli)
		rows[1][1], rows[1][3] = size(has.MemoryBytes), percent(used.MemoryBytes, has.MemoryBytes)
	}
	return rows
}

func nodePods(n api.NodeDetails) (rows [][]string) {
	for _, p := range n.PodList {
		note := ""
		if p.Pinned != "" {
			note = "pinned: " + p.Pinned
		}
		rows = append(rows, []string{p.Name, string(p.Phase), cores(p.Requested.CPUMilli), size(p.Requested.MemoryBytes), note})
	}
	return rows
}

func nodeConditions(n api.NodeDetails) [][]string {
	ready := []string{"Ready", "False", "gossip says that it is " + string(n.State)}
	if n.State == api.NodeAlive {
		ready[1] = "True"
	}
	schedulable := []string{"Schedulable", "True", "it takes new pods and moves"}
	switch {
	case n.Cordoned && n.Draining:
		schedulable = []string{"Schedulable", "False", "it is cordoned, and being drained"}
	case n.Cordoned:
		schedulable = []string{"Schedulable", "False", "it is cordoned: drover node uncordon " + n.Name}
	}
	return [][]string{ready, schedulable}
}

// indented writes a table below a title.
func indented(w io.Writer, headings []string, rows [][]string) error {
	var b strings.Builder
	if err := table(&b, headings, rows); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(w, "  "+strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// cores writes thousandths of a core as Kubernetes does: "2" or "250m".
func cores(milli int64) string {
	if milli%1000 == 0 {
		return fmt.Sprint(milli / 1000)
	}
	return fmt.Sprintf("%dm", milli)
}
