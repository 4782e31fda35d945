package agent

import (
	"context"
	"errors"
	"fmt"

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
	var missing []error
	for _, layer := range c.Layers {
		if err := i.layer(ctx, layer); err != nil {
			missing = append(missing, err)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	// Nobody has them, so somebody has to get the image once more, and it may be another one by now.
	if _, err := i.Ensure(ctx, c.Image, pullAlways, nil); err != nil {
		return errors.Join(append(missing, err)...)
	}
	for _, layer := range c.Layers {
		if here, err := i.store.Use(layer); err != nil || !here {
			return errors.Join(append(missing, err, errors.New("its registry has another image of that name"))...)
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
	tried := []error{fmt.Errorf("nobody has layer %s", layer.Short())}
	for _, node := range i.peers.Nodes() {
		err := i.layerFrom(ctx, node, layer)
		if err == nil || ctx.Err() != nil {
			return err
		}
		tried = append(tried, err)
	}
	return errors.Join(tried...)
}

func (i *images) layerFrom(ctx context.Context, node string, layer state.Digest) error {
	blob, err := i.peers.Exporter(node)(ctx, layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	return i.store.Import(ctx, layer, blob)
}
