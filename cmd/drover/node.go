package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Show, label, drain and remove the nodes of the mesh"}
	cmd.AddCommand(
		c.nodeList(), c.nodeDescribe(), c.nodeLabel(), c.nodeCordon(true), c.nodeCordon(false),
		c.nodeDrain(), c.nodeUndrain(), c.nodeRemove(),
	)
	return cmd
}

func (c *cli) nodeList() *cobra.Command {
	var labels bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the nodes, as the asked agent sees them",
		Long: `Lists the nodes, as the asked agent sees them. CPU and MEMORY are what the pods of a node request,
of what it has. SchedulingDisabled is a node that is cordoned.`,
		Example: "  drover node ls\n  drover node ls -o wide --show-labels",
		Args:    cobra.NoArgs,
		RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
			nodes, err := client.ListNodes(ctx)
			if err != nil {
				return err
			}
			return c.print(map[string]any{"nodes": nodes}, func(w io.Writer) error { return c.nodeTable(w, nodes, labels) })
		}),
	}
	cmd.Flags().BoolVar(&labels, "show-labels", false, "show the labels too")
	return cmd
}

func (c *cli) nodeTable(w io.Writer, nodes []api.Node, labels bool) error {
	headings := []string{"NAME", "STATUS", "ROLE", "SITE", "PODS", "CPU", "MEMORY", "RTT", "VERSION"}
	if c.wide() {
		headings = append(headings, "ADDRESS", "GOSSIP", "ARCH", "KERNEL", "CRIU")
	}
	if labels {
		headings = append(headings, "LABELS")
	}
	var rows [][]string
	for _, n := range nodes {
		rtt := ""
		if n.RTTms > 0 {
			rtt = milliseconds(n.RTTms)
		}
		row := []string{
			n.Name, nodeStatus(n), n.Role, n.Site, fmt.Sprint(n.Pods), percent(n.Requested.CPUMilli, n.Capacity.CPUMilli),
			percent(n.Requested.MemoryBytes, n.Capacity.MemoryBytes), rtt, n.Version,
		}
		if c.wide() {
			row = append(row, n.Address, n.Gossip, n.Arch, n.Kernel, n.CRIU)
		}
		if labels {
			row = append(row, strings.Join(labelList(n.Labels), ","))
		}
		rows = append(rows, row)
	}
	return table(w, headings, rows)
}

// nodeStatus is in kubectl's words.
func nodeStatus(n api.Node) string {
	status := "NotReady"
	if n.State == api.NodeAlive {
		status = "Ready"
	}
	if n.Cordoned {
		status += ",SchedulingDisabled"
	}
	return status
}

func labelList(labels map[string]string) []string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, key+"="+labels[key])
	}
	return all
}

// percent is how much of whole that is, "" if whole isn't known.
func percent(part, whole int64) string {
	if whole <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f%%", 100*float64(part)/float64(whole))
}
