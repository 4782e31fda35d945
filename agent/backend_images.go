package agent

import (
	"context"
	"errors"
	"io"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/volumes"
)

// LoadImage implements [api.Images].
func (b *backend) LoadImage(ctx context.Context, name, _ string, tar io.Reader) (api.Image, error) {
	i, err := b.pods.layers.Load(ctx, name, tar)
	var refused *volumes.RefusedError
	what := "loading image " + name
	switch {
	case errors.As(err, &refused), errors.Is(err, volumes.ErrCorrupt), errors.Is(err, volumes.ErrTooLarge):
		return api.Image{}, api.Errorf(api.InvalidArgument, what, "%v", err).WithCure("nothing was kept of it")
	case errors.Is(err, volumes.ErrFull):
		return api.Image{}, api.Errorf(api.FailedPrecondition, what, "%v", err).WithCure("free some space in " + b.config.StateDir + "; nothing was kept of the image")
	case err != nil:
		return api.Image{}, err
	}
	return b.image(i), nil
}

// ListImages implements [api.Images].
func (b *backend) ListImages(_ context.Context, _ string) ([]api.Image, error) {
	images, err := b.pods.layers.Images()
	if err != nil {
		return nil, err
	}
	out := make([]api.Image, len(images))
	for i, x := range images {
		out[i] = b.image(x)
	}
	return out, nil
}

func (b *backend) image(i volumes.Image) api.Image {
	return api.Image{Name: i.Name, Digest: string(i.Digest), Size: i.Size, Created: i.Created, Node: b.config.Node}
}
