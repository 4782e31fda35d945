package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) podExplain() *cobra.Command {
	var file, to string
	cmd := &cobra.Command{
		Use:   "explain POD | -f FILE|-",
		Short: "Show for each node whether a pod could run there, and why",
		Long: `Shows for each node whether a pod could run there, why, and where it would go: one that runs if it had to
leave, or one that is not started yet. A score is what would be free of the node, in percent.

This is what the mesh has recorded. Whether a node can really take a pod that runs, drover migrate finds out
before it changes anything.`,
		Example: "  drover pod explain redis\n  drover pod explain redis --to fra\n  drover pod explain -f redis.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			var name string
			var manifest []byte
			switch {
			case len(args) == 1 && file == "":
				name = args[0]
			case len(args) == 0 && file != "":
				var err error
				if manifest, err = c.readManifest(file); err != nil {
					return err
				}
			default:
				return &api.Error{Code: api.InvalidArgument, Why: "name either a pod or, with -f, a manifest"}
			}
			x, err := client.Explain(ctx, name, manifest, to)
			if err != nil {
				return err
			}
			return c.print(x, func(w io.Writer) error { return explain(w, x) })
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`manifest` of a pod that is not started yet; - reads stdin")
	cmd.Flags().StringVar(&to, "to", "", "only the nodes of this `site, or this node`")
	return cmd
}

func explain(w io.Writer, x api.Explanation) error {
	switch {
	case x.Node == "" && x.Target == "":
		fmt.Fprintf(w, "%s fits on no node.\n\n", x.Pod)
	case x.Node == "":
		fmt.Fprintf(w, "%s would be started on %s.\n\n", x.Pod, x.Target)
	case x.Target == "":
		fmt.Fprintf(w, "%s is on %s, and fits on no other node.\n\n", x.Pod, x.Node)
	default:
		fmt.Fprintf(w, "%s is on %s. If it had to leave, it would go to %s.\n\n", x.Pod, x.Node, x.Target)
	}
	if x.Lost != "" {
		fmt.Fprintf(w, "%s does not answer: %s.\n\n", x.Node, x.Lost)
	}
	var rows [][]string
	for _, n := range x.Nodes {
		fits, score := "no", ""
		if n.Fits {
			fits, score = "yes", fmt.Sprint(n.Score)
		}
		rows = append(rows, []string{n.Node, n.Site, fits, score, strings.Join(n.Reasons, "; ")})
	}
	return table(w, []string{"NODE", "SITE", "FITS", "SCORE", "WHY"}, rows)
}
