package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent"
	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
)

func (c *cli) agentReset() *cobra.Command {
	var config string
	var force bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "End all pods of this host and remove all that agents have left on it",
		Long: `End all pods of this host and remove all that agents have left on it: the pods' files and volumes, the
images, what the agent knew of the mesh, network devices, routes, mounts and control groups.

The agent must be stopped. Its configuration and its identity stay. The mesh still knows the node and
its pods: drover node rm on another node.`,
		Example: "  systemctl stop drover-agent\n  drover agent reset --force",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			const what = "resetting this host"
			settings, err := configs.Load(config)
			if errors.Is(err, fs.ErrNotExist) && !cmd.Flags().Changed("config") { // it never had one, or it is removed already
				settings, err = configs.Assumed(), nil
			}
			if err != nil {
				return err
			}
			log := settings.Log.Logger(os.Stderr)
			left, err := agent.Leftovers(settings, log)
			if err != nil {
				return api.Errorf(api.Internal, what, "%w", err)
			}
			if len(left) > 0 && !force {
				return api.Errorf(api.FailedPrecondition, what, "it would end and delete the pods %s", strings.Join(left, ", ")).
					WithCure("move them away first (drover node drain on this node, with its agent running), or say --force")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), interrupts()...)
			defer stop()
			if err := agent.Reset(ctx, settings, log); err != nil {
				return api.Errorf(api.FailedPrecondition, what, "%w", err).WithCure("mend that and run it again; it goes on where it stopped")
			}
			return c.print(map[string]any{"reset": true, "pods": left}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "This host is as it was before it had an agent; %d pods are gone.\n", len(left))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/drover/agent.yaml", "the agent's configuration `file`, for its directories")
	cmd.Flags().BoolVar(&force, "force", false, "also if there are pods")
	return cmd
}
