package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) migrateCommand() *cobra.Command {
	var to string
	var dryRun bool
	cmd := &cobra.Command{
		Use:     "migrate POD --to SITE|NODE",
		Aliases: []string{"move"},
		Short:   "Move a pod to another site, running",
		Long: `Moves a pod to a node, or to a node of a site, and shows each step as it happens.

Ctrl-C cancels: it waits until the move is undone and the pod goes on where it was. A move that is past its
point of no return is finished instead. A second Ctrl-C leaves at once; the agents go on undoing.
If a move fails it is undone too, and the exit code is 5.

Before anything is touched both nodes look at the pod and at themselves. Everything that is against the move is
told, with the process that is to blame and what to do, and the exit code is 6. --dry-run does only this.`,
		Example: `  drover migrate redis --to fra
  drover migrate redis --to fra --dry-run`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			client := api.NewClient(c.socket)
			defer client.Close()
			if dryRun {
				ctx, stop := signal.NotifyContext(cmd.Context(), interrupts()...)
				defer stop()
				return c.dryRun(ctx, client, args[0], to)
			}
			return c.migrate(cmd.Context(), client, args[0], to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `site or node` to move to")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only look whether the pod can move")
	_ = cmd.MarkFlagRequired("to") // the flag is there
	return cmd
}

func (c *cli) migrate(ctx context.Context, client *api.Client, pod, to string) error {
	shown := &progress{screen{out: c.out, width: c.width}}
	var told api.Progress = shown
	if c.structured() {
		told = silent{}
	}
	var report api.Report
	err := c.interruptible(ctx, longRun{
		do: func(ctx context.Context) (err error) {
			defer shown.clear()
			report, err = client.Migrate(ctx, pod, to, told)
			return err
		},
		undo: func(ctx context.Context) { c.cancel(ctx, client, pod) },
		left: "drover pod get " + pod + " shows where it runs",
	})
	if err != nil {
		return err
	}
	return c.print(report, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, summary(report))
		return err
	})
}

// cancelPatience is how long a cancellation may take: the other node may be unreachable, and the quorum slow.
const cancelPatience = 2 * time.Minute

// cancelRetry is how often a move is asked for that its source doesn't know yet.
const cancelRetry = 100 * time.Millisecond

// cancel asks for a move to be undone, and says if it is too late. How it ends is for the move's own answer to say, which
// ends ctx.
func (c *cli) cancel(ctx context.Context, client *api.Client, pod string) {
	ctx, done := context.WithTimeout(ctx, cancelPatience)
	defer done()
	retry := time.NewTicker(cancelRetry)
	defer retry.Stop()
	for {
		_, err := client.CancelMigration(ctx, pod)
		if err == nil || ctx.Err() != nil {
			return
		}
		switch api.AsError(err).Code {
		case api.NotFound: // it is only about to begin
		case api.FailedPrecondition:
			fmt.Fprintln(c.err, "drover: too late to cancel:", err)
			return
		default:
			fmt.Fprintln(c.err, "drover: could not cancel:", err)
			return
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return
		}
	}
}
