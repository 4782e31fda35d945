package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
)

func (c *cli) imageLoadCommand(node *string) *cobra.Command {
	var platform string
	cmd := &cobra.Command{
		Use:   "load [NAME] FILE|DIR|-",
		Short: "Load images from an archive, a directory or a root file system",
		Long: `Loads images from an OCI layout (a directory or a tar of it), from what "docker save" or "podman save" write, or
from the tar of a root file system, which is then an image of one layer. Tars may be packed with gzip or zstd. "-"
is the standard input. Without NAME images get the names in the archive; a root file system needs one.`,
		Example: `  docker save redis:7 | drover image load -
  drover image load app.tar
  drover image load registry.example.org/app:1.4 build/oci-layout
  tar -C rootfs -c . | drover image load app:test -`,
		Args: cobra.RangeArgs(1, 2),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			o := api.LoadImage{Node: *node, Platform: platform}
			if len(args) == 2 {
				o.Name = args[0]
			}
			return c.loadImages(ctx, client, o, args[len(args)-1])
		}),
	}
	cmd.Flags().StringVar(&platform, "platform", "", "take the image for `os/arch` (default: the node's)")
	return cmd
}

func (c *cli) loadImages(ctx context.Context, client *api.Client, o api.LoadImage, path string) error {
	r, err := c.openImages(ctx, path)
	if err != nil {
		return inputError("loading image "+path, err)
	}
	defer r.Close()
	var images []api.Image
	err = c.waiting(r.String, func() (err error) {
		images, err = client.LoadImage(ctx, o, r)
		return err
	})
	if err != nil {
		return err
	}
	return c.print(map[string]any{"images": images}, func(w io.Writer) error {
		for _, i := range images {
			if err := told(w, i); err != nil {
				return err
			}
		}
		return nil
	})
}

// openImages opens what holds images; of a directory it makes a tar.
func (c *cli) openImages(ctx context.Context, path string) (*upload, error) {
	if path == "-" {
		return &upload{ReadCloser: io.NopCloser(c.in)}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		f, err := os.Open(path)
		return &upload{ReadCloser: f, total: info.Size()}, err
	}
	if _, err := os.Stat(filepath.Join(path, "oci-layout")); err != nil {
		return nil, fmt.Errorf("%s is no OCI layout: it has no oci-layout; for a root file system: tar -C %s -c . | drover image load NAME -", path, path)
	}
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer stop()
		_ = w.CloseWithError(writeLayout(w, os.DirFS(path)))
	}()
	return &upload{ReadCloser: r}, nil
}

// writeLayout writes the files of an OCI layout as a tar, and nothing else that lies beside them.
func writeLayout(w io.Writer, layout fs.FS) error {
	t := tar.NewWriter(w)
	write := func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := layout.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no file", name)
		}
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
			return err
		}
		_, err = io.Copy(t, f)
		return err
	}
	for _, part := range []string{"oci-layout", "index.json", "blobs"} {
		if err := fs.WalkDir(layout, part, write); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return t.Close()
}
