package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) imageCommand() *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Load, pull, list and remove the images of a node",
		Long: `Images are kept by each node for itself, and their layers are shared. A node that lacks an image for a pod
copies it from another one; so it has to be loaded or pulled at one node only. Where an image that is
there is meant, its name will do, or the first digits of its ID.`,
	}
	cmd.PersistentFlags().StringVar(&node, "node", "", "`node` whose images are meant (default: the agent's own)")
	cmd.AddCommand(c.imageLoadCommand(&node), c.imagePullCommand(&node), c.imageListCommand(&node), c.imageInspectCommand(&node),
		c.imageTagCommand(&node), c.imageRemoveCommand(&node))
	return cmd
}

func (c *cli) imageListCommand(node *string) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List images",
		Example: "  drover image ls\n  drover image ls --node fra -o wide",
		Args:    cobra.NoArgs,
		RunE: c.query(func(ctx context.Context, client *api.Client, _ []string) error {
			images, err := client.ListImages(ctx, *node)
			if err != nil {
				return err
			}
			return c.print(map[string]any{"images": images}, func(w io.Writer) error { return c.imageTable(w, images) })
		}),
	}
}

func (c *cli) imageInspectCommand(node *string) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect IMAGE",
		Short:   "Show all that is known of an image, as JSON, or as YAML with -o yaml",
		Example: "  drover image inspect redis:7\n  drover image inspect 3c18efd3ff40 --node fra",
		Args:    cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			image, err := client.InspectImage(ctx, args[0], *node)
			if err != nil {
				return err
			}
			return writeAs(c.out, c.output, struct {
				api.Image
				Config json.RawMessage `json:"config"`
			}{image, image.Config()})
		}),
	}
}

func (c *cli) imageTagCommand(node *string) *cobra.Command {
	return &cobra.Command{
		Use:     "tag IMAGE NAME",
		Short:   "Give an image one more name",
		Example: "  drover image tag redis:7.2.4 redis:7",
		Args:    cobra.ExactArgs(2),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			image, err := client.TagImage(ctx, args[0], args[1], *node)
			if err != nil {
				return err
			}
			return c.print(image, func(w io.Writer) error { return told(w, image) })
		}),
	}
}

func (c *cli) imageRemoveCommand(node *string) *cobra.Command {
	return &cobra.Command{
		Use:     "rm IMAGE...",
		Aliases: []string{"remove"},
		Short:   "Remove images that no pod of the node uses",
		Long:    "Removes names of images, and with the last name of an image those of its layers that no other image and no pod needs.",
		Example: "  drover image rm redis:6",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			removed := []api.RemovedImage{}
			for _, name := range args {
				r, err := client.RemoveImage(ctx, name, *node)
				if err != nil {
					return err
				}
				removed = append(removed, r)
				if c.structured() {
					continue
				}
				fmt.Fprintf(c.out, "%s is removed, %s freed\n", r.Name, size(r.Freed))
			}
			return c.print(map[string]any{"removed": removed}, func(io.Writer) error { return nil })
		}),
	}
}

// told says what an image is and where.
func told(w io.Writer, i api.Image) error {
	_, err := fmt.Fprintf(w, "%s is on %s: %s, %s\n", i.Name, i.Node, i.Digest, size(i.Size))
	return err
}

func (c *cli) imageTable(w io.Writer, images []api.Image) error {
	var rows [][]string
	headings := []string{"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"}
	if c.wide() {
		headings = append(headings, "PLATFORM", "NODE", "DIGEST")
	}
	for _, i := range images {
		repository, tag := split(i.Name)
		created := age(c.now(), i.Created)
		if created != "" {
			created += " ago"
		}
		row := []string{repository, tag, shortID(i.Digest), created, size(i.Size)}
		if c.wide() {
			row = append(row, i.Platform, i.Node, cmp.Or(i.Manifest, i.Digest))
		}
		rows = append(rows, row)
	}
	return table(w, headings, rows)
}

// split takes a complete name apart. One that was pulled by its digest has no tag.
func split(name string) (repository, tag string) {
	if repository, _, ok := strings.Cut(name, "@"); ok {
		return repository, "<none>"
	}
	i := strings.LastIndexByte(name, ':')
	if i < 0 || strings.Contains(name[i:], "/") {
		return name, "<none>"
	}
	return name[:i], name[i+1:]
}

// shortID is a digest as Docker and Podman show it.
func shortID(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(12, len(hex))]
}
