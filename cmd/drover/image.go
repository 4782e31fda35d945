package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) imageCommand() *cobra.Command {
	var node string
	cmd := &cobra.Command{Use: "image", Short: "Load and list the images of a node"}
	cmd.PersistentFlags().StringVar(&node, "node", "", "`node` whose images are meant (default: the agent's own)")
	cmd.AddCommand(
		&cobra.Command{
			Use:     "load NAME FILE|-",
			Short:   "Load a root file system from a tar",
			Example: "  drover image load redis:7 redis.tar\n  tar -C rootfs -c . | drover image load redis:7 -",
			Args:    cobra.ExactArgs(2),
			RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
				return c.loadImage(ctx, client, args[0], args[1], node)
			}),
		},
		&cobra.Command{
			Use:   "ls",
			Short: "List images",
			Args:  cobra.NoArgs,
			RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
				images, err := client.ListImages(ctx, node)
				if err != nil {
					return err
				}
				return c.print(map[string]any{"images": images}, func(w io.Writer) error { return c.imageTable(w, images) })
			}),
		},
	)
	return cmd
}

func (c *cli) loadImage(ctx context.Context, client *api.Client, name, file, node string) error {
	r := c.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return inputError("loading image "+name, err)
		}
		defer f.Close()
		r = f
	}
	image, err := client.LoadImage(ctx, name, node, r)
	if err != nil {
		return err
	}
	return c.print(image, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s is on %s: %s, %s\n", image.Name, image.Node, image.Digest, size(image.Size))
		return err
	})
}

func (c *cli) imageTable(w io.Writer, images []api.Image) error {
	var rows [][]string
	for _, i := range images {
		digest := i.Digest
		if hex, ok := strings.CutPrefix(digest, "sha256:"); ok && !c.wide() {
			digest = hex[:min(12, len(hex))]
		}
		rows = append(rows, []string{i.Name, digest, size(i.Size), i.Node, age(c.now(), i.Created)})
	}
	return table(w, []string{"NAME", "DIGEST", "SIZE", "NODE", "AGE"}, rows)
}
