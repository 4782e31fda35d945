package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
	"github.com/drover-mesh/drover/volumes/oci"
	"github.com/drover-mesh/drover/volumes/registry"
)

// LoadImage implements [api.Images].
func (b *backend) LoadImage(ctx context.Context, o api.LoadImage, r io.Reader) ([]api.Image, error) {
	loaded, err := b.images.store.Load(ctx, volumes.LoadOptions{Name: o.Name, Platform: o.Platform}, r)
	if err != nil {
		return nil, imageError(strings.TrimSpace("loading image "+o.Name), err)
	}
	return b.describeImages(loaded), nil
}

// ListImages implements [api.Images].
func (b *backend) ListImages(_ context.Context, _ string) ([]api.Image, error) {
	all, err := b.images.store.Images()
	if err != nil {
		return nil, err
	}
	return b.describeImages(all), nil
}

// InspectImage implements [api.Images].
func (b *backend) InspectImage(_ context.Context, name, _ string) (api.Image, error) {
	found, err := b.findImages("looking for image "+name, name)
	if err != nil {
		return api.Image{}, err
	}
	image := b.describeImage(found[0])
	image.Document = found[0].Document
	return image, nil
}

// TagImage implements [api.Images].
func (b *backend) TagImage(_ context.Context, name, tag, _ string) (api.Image, error) {
	what := "tagging image " + name
	found, err := b.findImages(what, name)
	if err != nil {
		return api.Image{}, err
	}
	tagged, err := b.images.store.Tag(found[0], tag)
	if err != nil {
		return api.Image{}, imageError(what, err)
	}
	return b.describeImage(tagged), nil
}

// RemoveImage implements [api.Images].
func (b *backend) RemoveImage(_ context.Context, name, _ string) (api.RemovedImage, error) {
	what := "removing image " + name
	found, err := b.findImages(what, name)
	if err != nil {
		return api.RemovedImage{}, err
	}
	if len(found) > 1 {
		var names []string
		for _, i := range found {
			names = append(names, i.Name)
		}
		return api.RemovedImage{}, api.Errorf(api.FailedPrecondition, what, "it has several names: %s", strings.Join(names, ", ")).
			WithCure("remove it by each of its names")
	}
	freed, err := b.images.store.Remove(found[0].Name)
	var inUse *volumes.InUseError
	if errors.As(err, &inUse) {
		return api.RemovedImage{}, api.Errorf(api.FailedPrecondition, what, "it is used by %s", strings.Join(b.podsOf(inUse.Roots), ", ")).
			WithCure("remove that first: drover pod rm")
	}
	if err != nil {
		return api.RemovedImage{}, imageError(what, err)
	}
	return api.RemovedImage{Name: found[0].Name, Freed: freed}, nil
}

// podsOf names the pods to which root file systems belong.
func (b *backend) podsOf(roots []string) []string {
	var names []string
	for _, root := range roots {
		name := "the files " + root
		for _, p := range b.quorum.View().Pods() {
			if strings.HasPrefix(root, rootID(p.UID, "")) {
				name = "pod " + p.Name
			}
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// PullImage implements [api.Images].
func (b *backend) PullImage(ctx context.Context, o api.PullImage, progress func(api.LayerProgress)) (api.Image, error) {
	what := "pulling image " + o.Reference
	name, err := oci.ParseName(o.Reference)
	if err != nil {
		return api.Image{}, imageError(what, err)
	}
	done, err := b.images.begin(ctx, name.String())
	if err != nil {
		return api.Image{}, err
	}
	defer done()
	p := pull{name: name, platform: o.Platform, insecure: o.Insecure, progress: coarse(progress)}
	if c := o.Credentials; c != nil {
		p.credentials = &registry.Credentials{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
	}
	image, err := b.images.pull(ctx, what, p)
	if err != nil {
		return api.Image{}, err
	}
	return b.describeImage(image), nil
}

// coarse tells of each hundredth of a layer, but not of less than 256 KiB.
func coarse(progress func(api.LayerProgress)) func(volumes.Progress) {
	var mu sync.Mutex
	told := map[state.Digest]int64{}
	return func(p volumes.Progress) {
		mu.Lock()
		last, begun := told[p.Layer]
		worth := !begun || p.Here || p.Done-last >= max(p.Total/100, 256<<10)
		if worth {
			told[p.Layer] = p.Done
		}
		mu.Unlock()
		if worth {
			progress(api.LayerProgress{Layer: string(p.Layer), Here: p.Here, BytesDone: p.Done, BytesTotal: p.Total})
		}
	}
}

func (b *backend) findImages(what, name string) ([]volumes.Image, error) {
	found, err := b.images.store.Find(name)
	if errors.Is(err, volumes.ErrNotFound) {
		return nil, api.Errorf(api.NotFound, what, "%s does not have it", b.config.Node).
			WithCure(fmt.Sprintf("drover image ls --node %s shows what it has", b.config.Node))
	}
	if err != nil {
		return nil, imageError(what, err)
	}
	return found, nil
}

func (b *backend) describeImages(all []volumes.Image) []api.Image {
	out := make([]api.Image, len(all))
	for i, x := range all {
		out[i] = b.describeImage(x)
	}
	return out
}

func (b *backend) describeImage(i volumes.Image) api.Image {
	out := api.Image{
		Name: i.Name, Digest: string(i.Digest), Manifest: string(i.Manifest), Platform: i.Platform, Size: i.Size,
		Created: i.Created, Tagged: i.Tagged, Node: b.config.Node,
	}
	for _, layer := range i.Layers {
		out.Layers = append(out.Layers, string(layer))
	}
	return out
}
