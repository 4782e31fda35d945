package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/volumes/oci"
	"github.com/drover-mesh/drover/volumes/registry"
)

func (c *cli) imagePullCommand(node *string) *cobra.Command {
	o := api.PullImage{}
	authFile := ""
	cmd := &cobra.Command{
		Use:   "pull IMAGE",
		Short: "Pull an image from its registry",
		Long: `Lets a node fetch an image from its registry. Layers that the node has are not fetched again; so what was
interrupted goes on when it is tried again.

Names are read as docker does: redis is docker.io/library/redis:latest. Credentials are yours, not the
node's: from --authfile, else from REGISTRY_AUTH_FILE, ~/.docker/config.json or
${XDG_RUNTIME_DIR}/containers/auth.json, with the credential helpers named there. If none of these knows
the registry, the node uses its own.`,
		Example: `  drover image pull redis:7
  drover image pull registry.example.org/app:1.4 --node fra
  drover image pull --insecure 10.0.0.5:5000/app`,
		Args: cobra.ExactArgs(1),
		RunE: c.query(func(ctx context.Context, client *api.Client, args []string) error {
			o.Reference, o.Node = args[0], *node
			return c.pullImage(ctx, client, o, authFile)
		}),
	}
	cmd.Flags().StringVar(&o.Platform, "platform", "", "take the image for `os/arch` (default: the node's)")
	cmd.Flags().BoolVar(&o.Insecure, "insecure", false, "accept plain HTTP, and a certificate that nobody vouches for")
	cmd.Flags().StringVar(&authFile, "authfile", "", "`file` with credentials, as docker login writes it")
	return cmd
}

func (c *cli) pullImage(ctx context.Context, client *api.Client, o api.PullImage, authFile string) error {
	name, err := oci.ParseName(o.Reference)
	if err != nil {
		return api.Errorf(api.InvalidArgument, "pulling image "+o.Reference, "%w", err)
	}
	found, err := registry.FindCredentials(name, authFile)
	if err != nil {
		return inputError("pulling image "+o.Reference, err)
	}
	if found != (registry.Credentials{}) {
		o.Credentials = &api.RegistryCredentials{Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken}
	}
	shown := &layers{screen: screen{out: c.out, width: c.width}}
	progress := shown.progress
	if c.structured() {
		progress = func(api.LayerProgress) {}
	}
	image, err := client.PullImage(ctx, o, progress)
	shown.clear()
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	return c.print(image, func(w io.Writer) error { return told(w, image) })
}

// layers shows the layers of a pull: a line each when it has come and, on a terminal, all those that are coming in one
// line that is overwritten.
type layers struct {
	screen
	coming []api.LayerProgress // in the order in which they began
}

func (l *layers) progress(p api.LayerProgress) {
	begun := -1
	for i := range l.coming {
		if l.coming[i].Layer == p.Layer {
			begun = i
		}
	}
	switch {
	case p.Here && begun < 0:
		l.line("  %s  already here", shortID(p.Layer))
	case p.Here:
		l.coming = append(l.coming[:begun], l.coming[begun+1:]...)
		l.line("  %s  %s", shortID(p.Layer), size(p.BytesDone))
	case begun < 0:
		l.coming = append(l.coming, p)
	default:
		l.coming[begun] = p
	}
	l.show()
}

func (l *layers) show() {
	var parts []string
	for _, p := range l.coming {
		part := shortID(p.Layer) + " " + size(p.BytesDone)
		if p.BytesTotal > 0 {
			part = fmt.Sprintf("%s %d %%", shortID(p.Layer), min(100*p.BytesDone/p.BytesTotal, 100))
		}
		parts = append(parts, part)
	}
	if len(parts) > 0 {
		l.overwrite("  " + strings.Join(parts, "  "))
	}
}
