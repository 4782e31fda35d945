package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent"
	"github.com/drover-mesh/drover/configs"
)

// agentCommand runs an agent in the foreground.
func (c *cli) agentCommand() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host in the foreground",
		Long: `Run the agent of this host in the foreground, until SIGTERM or SIGINT.

Pods outlive it: stop it, kill it or replace it by a newer one, and the next agent finds them running.`,
		Example: "  drover agent\n  drover agent --config /etc/drover/agent.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := configs.Load(config)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			return agent.Run(ctx, settings, version, settings.Log.Logger(os.Stderr))
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/drover/agent.yaml", "configuration `file`")
	cmd.AddCommand(c.agentReset())
	return cmd
}
