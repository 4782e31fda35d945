package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the state of the mesh in short, as the asked agent sees it",
		Long: `Shows the node that is asked, how many nodes are alive, who leads the consensus and who votes in it, how many pods
there are, what moves just now, and what is wrong.`,
		Example: "  drover status\n  drover status -o json | jq -r '.problems[]'",
		Args:    cobra.NoArgs,
		RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
			status, err := client.GetStatus(ctx)
			if err != nil {
				return err
			}
			return c.print(status, func(w io.Writer) error { return c.describeStatus(w, status) })
		}),
	}
}

func (c *cli) describeStatus(w io.Writer, s api.Status) error {
	leader := "no leader"
	switch s.Leader {
	case "":
	case s.Node:
		leader = "this node leads"
	default:
		leader = fmt.Sprintf("%s leads, this node is %s", s.Leader, withArticle(s.Role))
	}
	pods := fmt.Sprintf("%d here, %d in the mesh; network %s", s.PodsHere, s.PodsTotal, s.PodCIDR)
	if s.AppliedIndex == 0 {
		pods = "not known yet: this node has not heard of the mesh since it started"
	}
	err := fields(w, [][2]string{
		{"Node", fmt.Sprintf("%s at %s, version %s, up %s", s.Node, s.Site, s.Version, age(c.now(), s.Started))},
		{"Mesh", fmt.Sprintf("%d of %d nodes alive", s.NodesAlive, s.NodesKnown)},
		{"Consensus", fmt.Sprintf("%s; servers %s; applied %d", leader, strings.Join(s.Servers, ", "), s.AppliedIndex)},
		{"Pods", pods},
	}...)
	if err != nil {
		return err
	}
	for _, m := range s.Migrations {
		step := ""
		if m.Step != "" {
			step = ", " + m.Step
		}
		fmt.Fprintf(w, "Moving: %s from %s to %s (%s%s)\n", m.Pod, m.From, m.To, m.Phase, step)
	}
	for _, p := range s.Problems {
		fmt.Fprintln(w, "Problem:", p)
	}
	return nil
}

// withArticle makes a role of a node a part of a sentence.
func withArticle(role string) string {
	switch role {
	case "joining", "plain":
		return role
	}
	return "a " + role
}
