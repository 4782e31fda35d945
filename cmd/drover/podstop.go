package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) podStop() *cobra.Command {
	grace := -time.Second
	cmd := &cobra.Command{
		Use:   "stop POD",
		Short: "End a pod's processes and keep everything else",
		Long: `Ends a pod's processes: a stop signal, the grace period, then SIGKILL. Its address, its files and its log stay, and
it is not started again before drover pod start, whatever its restartPolicy.`,
		Example: "  drover pod stop redis\n  drover pod stop redis --time 5s",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			if err := client.StopPod(ctx, args[0], grace); err != nil {
				return err
			}
			return c.print(map[string]any{"name": args[0], "stopped": true}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is stopped\n", args[0])
				return err
			})
		}),
	}
	cmd.Flags().DurationVarP(&grace, "time", "t", -time.Second, "`time` from the stop signal to SIGKILL (default: the manifest's)")
	return cmd
}

func (c *cli) podStart() *cobra.Command {
	return &cobra.Command{
		Use:     "start POD",
		Short:   "Start a stopped pod from its beginning, with the files that it had",
		Example: "  drover pod start redis",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			if err := client.StartPod(ctx, args[0]); err != nil {
				return err
			}
			return c.print(map[string]any{"name": args[0], "started": true}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is started\n", args[0])
				return err
			})
		}),
	}
}
