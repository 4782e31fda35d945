package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/drover-mesh/drover/state"
)

// EnsureLayers makes the layers that a pod stands on be on this node: those, whatever the names of its images stand for by
// now. Other nodes are asked for them, the nearest first, then the images' registries.
func (i *images) EnsureLayers(ctx context.Context, p state.Pod) error {
	for _, c := range p.Containers {
		if err := i.ensureLayers(ctx, c); err != nil {
			return fmt.Errorf("getting image %s of container %s: %w", c.Image, c.Name, err)
		}
	}
	return nil
}

func (i *images) ensureLayers(ctx context.Context, c state.Container) error {
	missing := i.copyLayers(ctx, c.Layers)
	if missing == nil || ctx.Err() != nil {
		return missing
	}
	// Nobody has it, so somebody has to get the image once more, and it may be another one by now.
	if _, err := i.Ensure(ctx, c.Image, pullAlways, nil); err != nil {
		return fmt.Errorf("%w; %w", missing, err)
	}
	for _, layer := range c.Layers {
		if here, err := i.store.Use(layer); err != nil || !here {
			return fmt.Errorf("%w; its registry has another image of that name", errors.Join(missing, err))
		}
	}
	return nil
}

// copyLayers makes layers be here that other nodes have.
func (i *images) copyLayers(ctx context.Context, layers []state.Digest) error {
	for _, layer := range layers {
		if err := i.layer(ctx, layer); err != nil {
			return err
		}
	}
	return nil
}

// layer makes one layer be here.
func (i *images) layer(ctx context.Context, layer state.Digest) error {
	here, err := i.store.Use(layer)
	if err != nil || here {
		return err
	}
	var tried []string
	for _, node := range i.peers.Nodes() {
		err := i.layerFrom(ctx, node, layer)
		if err == nil || ctx.Err() != nil {
			return err
		}
		tried = append(tried, err.Error())
	}
	return fmt.Errorf("no node has layer %s (%s)", layer.Short(), strings.Join(tried, "; "))
}

func (i *images) layerFrom(ctx context.Context, node string, layer state.Digest) error {
	blob, err := i.peers.Exporter(node)(ctx, layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	return i.store.Import(ctx, layer, blob)
}
