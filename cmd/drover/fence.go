package main

import (
	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/fence"
)

// fenceCommand is the process that freezes pods when the node's lease ends. Agents start it.
func (c *cli) fenceCommand() *cobra.Command {
	opts := fence.Options{Version: version}
	cmd := &cobra.Command{
		Use:     "fence",
		Short:   "Freeze pods when the lease of this node ends; agents start it",
		Example: "  drover fence --dir /run/drover/fence",
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return fence.Run(opts) },
	}
	cmd.Flags().StringVar(&opts.Dir, "dir", "", "`directory` of its socket")
	_ = cmd.MarkFlagRequired("dir") // the flag is there
	return cmd
}
