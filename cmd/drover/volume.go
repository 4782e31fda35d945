package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "Show and remove named volumes",
		Long: `A named volume is a directory that outlives the pods that use it. A pod asks for it by a persistentVolumeClaim in its
manifest; the first one that does makes it, on its node. It moves with its pod.`,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "ls", Short: "List the named volumes of the mesh", Example: "  drover volume ls\n  drover volume ls -o yaml", Args: cobra.NoArgs,
			RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
				volumes, err := client.ListVolumes(ctx)
				if err != nil {
					return err
				}
				return c.print(map[string]any{"volumes": volumes}, func(w io.Writer) error {
					var rows [][]string
					for _, v := range volumes {
						rows = append(rows, []string{v.Name, v.Node, v.Pod})
					}
					return table(w, []string{"NAME", "NODE", "POD"}, rows)
				})
			}),
		},
		&cobra.Command{
			Use: "rm VOLUME", Short: "Delete a volume that no pod uses, with its files", Example: "  drover volume rm data", Args: cobra.ExactArgs(1),
			RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
				if err := client.RemoveVolume(ctx, args[0]); err != nil {
					return err
				}
				return c.print(map[string]any{"name": args[0], "removed": true}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "volume %s is removed\n", args[0])
					return err
				})
			}),
		},
	)
	return cmd
}
