package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) migrationCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "migration", Short: "Show or cancel the moves of pods"}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "ls",
			Short:   "List the moves that go on, and the last finished ones",
			Example: "  drover migration ls\n  drover migration ls -o wide",
			Args:    cobra.NoArgs,
			RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
				migrations, err := client.ListMigrations(ctx)
				if err != nil {
					return err
				}
				return c.print(map[string]any{"migrations": migrations}, func(w io.Writer) error { return c.migrationTable(w, migrations) })
			}),
		},
		&cobra.Command{
			Use:   "get ID",
			Short: "Show a move",
			Long: `Shows a move: where it stands, and when it is done how long its pod stood still, what was sent and how long each
step took. The times are known to the source's agent until it restarts.`,
			Example: "  drover migration get m-ouxdypglk4gc\n  drover migration get m-ouxdypglk4gc -o yaml",
			Args:    cobra.ExactArgs(1),
			RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
				m, err := client.GetMigration(ctx, args[0])
				if err != nil {
					return err
				}
				return c.print(m, func(w io.Writer) error { return describeMigration(w, m) })
			}),
		},
		&cobra.Command{
			Use:   "cancel ID|POD",
			Short: "Cancel a move and wait until it is undone",
			Long: `Cancels a move and waits until it is undone and the pod goes on where it was. A move that is past its point of no
return can't be cancelled: the exit code is 6, and it is finished.`,
			Example: "  drover migration cancel redis",
			Args:    cobra.ExactArgs(1),
			RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
				m, err := client.CancelMigration(ctx, args[0])
				if err != nil {
					return err
				}
				return c.print(m, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "the move of %s to %s is %s\n", m.Pod, m.To, m.Phase)
					return err
				})
			}),
		},
	)
	return cmd
}

func (c *cli) migrationTable(w io.Writer, migrations []api.Migration) error {
	headings := []string{"ID", "POD", "FROM", "TO", "PHASE", "STEP"}
	if c.wide() {
		headings = append(headings, "EPOCH", "REASON")
	}
	var rows [][]string
	for _, m := range migrations {
		row := []string{m.ID, m.Pod, m.From, m.To, string(m.Phase), m.Step}
		if c.wide() {
			row = append(row, fmt.Sprint(m.Epoch), m.Reason)
		}
		rows = append(rows, row)
	}
	return table(w, headings, rows)
}

func describeMigration(w io.Writer, m api.Migration) error {
	pairs := [][2]string{
		{"ID", m.ID}, {"Pod", m.Pod}, {"From", m.From}, {"To", m.To}, {"Epoch", fmt.Sprint(m.Epoch)},
		{"Phase", string(m.Phase)}, {"Step", m.Step}, {"Reason", m.Reason},
	}
	if r := m.Report; r != nil {
		pairs = append(pairs, [2]string{"Mode", r.Mode}, [2]string{"Downtime", milliseconds(r.DowntimeMS)}, [2]string{"Total", duration(r.TotalMS)},
			[2]string{"Sent", fmt.Sprintf("%s, %s of it under the freeze", size(r.BytesSent), size(r.FrozenBytes))})
		for _, s := range r.Steps {
			pairs = append(pairs, [2]string{"  " + s.Name, milliseconds(s.MS)})
		}
	}
	return fields(w, pairs...)
}
