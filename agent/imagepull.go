package agent

import (
	"context"

	"github.com/drover-mesh/drover/volumes"
	"github.com/drover-mesh/drover/volumes/oci"
	"github.com/drover-mesh/drover/volumes/registry"
)

// pull is a request to a registry.
type pull struct {
	name        oci.Name
	platform    string // "" is this node's
	insecure    bool
	credentials *registry.Credentials // nil are this node's
	progress    func(volumes.Progress)
}

// pull fetches an image from its registry, or what is missing of it.
func (i *images) pull(ctx context.Context, what string, p pull) (volumes.Image, error) {
	image, err := i.tryPull(ctx, p)
	if err != nil {
		return volumes.Image{}, imageError(what, err)
	}
	return image, nil
}

func (i *images) tryPull(ctx context.Context, p pull) (volumes.Image, error) {
	platform, err := oci.ParsePlatform(p.platform)
	if err != nil {
		return volumes.Image{}, err
	}
	options := registry.Options{Insecure: p.insecure || i.registries.IsInsecure(p.name.Registry)}
	if p.credentials != nil {
		options.Credentials = *p.credentials
	} else if options.Credentials, err = registry.FindCredentials(p.name, i.registries.AuthFile); err != nil {
		return volumes.Image{}, err
	}
	remote, err := registry.Open(ctx, p.name, options)
	if err != nil {
		return volumes.Image{}, err
	}
	defer remote.Close()
	if image, err := i.store.Image(p.name.String()); err == nil && image.Manifest != "" {
		digest, err := remote.Digest(ctx) // costs next to nothing; if it fails the next request says why
		if has, _ := oci.ParsePlatform(image.Platform); err == nil && digest == image.Manifest && oci.Fits(has, platform) {
			return image, nil
		}
	}
	found, err := remote.Image(ctx, platform)
	if err != nil {
		return volumes.Image{}, err
	}
	added, err := i.store.Add(ctx, []*oci.Image{found}, p.progress)
	if err != nil {
		return volumes.Image{}, err
	}
	i.log.Info("an image was pulled", "image", added[0].Name, "digest", added[0].Digest, "manifest", added[0].Manifest)
	return added[0], nil
}
