package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Show the nodes of the mesh"}
	cmd.AddCommand(&cobra.Command{
		Use:   "ls",
		Short: "List the nodes, as the asked agent sees them",
		Args:  cobra.NoArgs,
		RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
			nodes, err := client.ListNodes(ctx)
			if err != nil {
				return err
			}
			return c.print(map[string]any{"nodes": nodes}, func(w io.Writer) error { return c.nodeTable(w, nodes) })
		}),
	})
	return cmd
}

func (c *cli) nodeTable(w io.Writer, nodes []api.Node) error {
	headings := []string{"NAME", "SITE", "STATE", "ROLE", "PODS", "RTT", "VERSION"}
	if c.wide() {
		headings = append(headings, "ADDRESS", "GOSSIP", "ARCH")
	}
	var rows [][]string
	for _, n := range nodes {
		rtt := ""
		if n.RTTms > 0 {
			rtt = milliseconds(n.RTTms)
		}
		row := []string{n.Name, n.Site, string(n.State), n.Role, fmt.Sprint(n.Pods), rtt, n.Version}
		if c.wide() {
			row = append(row, n.Address, n.Gossip, n.Arch)
		}
		rows = append(rows, row)
	}
	return table(w, headings, rows)
}
