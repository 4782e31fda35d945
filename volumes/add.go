package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

// A Progress tells how far the coming of one layer is.
type Progress struct {
	Layer state.Digest
	Here  bool  // it had been here before, or is now
	Done  int64 // bytes that have come, packed as they come
	Total int64 // of so many; 0 if that isn't known
}

// atOnce is how many layers are fetched at the same time. More would compete for the disk.
const atOnce = 3

// Add takes in images that a registry or an archive has, and gives them their names. Layers that are here are not
// fetched. If it fails no name has changed; layers that came whole stay for a while, in case it is tried again,
// unless something was wrong with the images. progress may be nil; it is called from several goroutines at once.
func (s *Store) Add(ctx context.Context, images []*oci.Image, progress func(Progress)) ([]Image, error) {
	var all []incoming
	for _, i := range images {
		in := incoming{names: i.Names, image: Image{
			Digest: oci.DigestOf(i.Document), Manifest: i.Manifest, Layers: i.Config.Layers, Config: i.Config.Run, Document: i.Document,
			Platform: platformOf(i.Config), Created: i.Config.Created, Tagged: time.Now(),
		}}
		if in.image.Created.IsZero() {
			in.image.Created = in.image.Tagged
		}
		for _, l := range i.Layers {
			in.layers = append(in.layers, incomingLayer{l.Digest, l.Size, func(ctx context.Context, progress func(int64)) error {
				return s.importPacked(ctx, l, progress)
			}})
		}
		all = append(all, in)
	}
	return s.take(ctx, all, progress)
}

func platformOf(c oci.Config) string {
	p := c.Platform
	if p.OS == "" {
		p.OS = oci.Host().OS
	}
	if p.Architecture == "" {
		p.Architecture = oci.Host().Architecture
	}
	return p.String()
}

// An Exporter has layers, as Export writes them. The caller closes what it gets.
type Exporter func(ctx context.Context, layer state.Digest) (io.ReadCloser, error)

// Copy takes in an image that other stores have, under the name that it has there. For each layer the exporters are
// asked one after the other. The image must be what its digest says; who tells what its name stands for is trusted.
func (s *Store) Copy(ctx context.Context, image Image, from []Exporter, progress func(Progress)) (Image, error) {
	name, err := oci.ParseName(image.Name)
	if err == nil {
		err = checkCopy(&image)
	}
	if err != nil {
		return Image{}, err
	}
	in := incoming{names: []oci.Name{name}, image: image}
	for _, layer := range image.Layers {
		in.layers = append(in.layers, incomingLayer{layer, 0, func(ctx context.Context, progress func(int64)) error {
			return s.importFrom(ctx, layer, from, progress)
		}})
	}
	images, err := s.take(ctx, []incoming{in}, progress)
	if err != nil {
		return Image{}, err
	}
	return images[0], nil
}

func (s *Store) importFrom(ctx context.Context, layer state.Digest, from []Exporter, progress func(int64)) error {
	errs := []error{fmt.Errorf("nobody has layer %s", layer)}
	for _, export := range from {
		err := s.importOne(ctx, layer, export, progress)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrFull) {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *Store) importOne(ctx context.Context, layer state.Digest, export Exporter, progress func(int64)) error {
	blob, err := export(ctx, layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	return s.importLayer(ctx, layer, blob, progress)
}

// checkCopy refuses an image that isn't what its digest says.
func checkCopy(image *Image) error {
	if image.Document == nil {
		if err := image.Digest.Validate(); err != nil {
			return err
		}
		if !slices.Equal(image.Layers, []state.Digest{image.Digest}) || image.Config != nil {
			return fmt.Errorf("%w: it has no configuration, and more than one layer or another digest than that", ErrCorrupt)
		}
		return nil
	}
	config, err := oci.ParseConfig(image.Document)
	if err != nil {
		return err
	}
	if oci.DigestOf(image.Document) != image.Digest || !slices.Equal(config.Layers, image.Layers) {
		return fmt.Errorf("%w: its configuration has another digest or other layers", ErrCorrupt)
	}
	image.Config = config.Run
	return nil
}

// incoming is an image that is to be taken in.
type incoming struct {
	names  []oci.Name
	image  Image
	layers []incomingLayer
}

type incomingLayer struct {
	digest state.Digest
	size   int64
	fetch  func(ctx context.Context, progress func(done int64)) error // makes the layer be here
}

// take fetches what is missing, then gives all images their names at once.
func (s *Store) take(ctx context.Context, all []incoming, progress func(Progress)) ([]Image, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	var named []Image
	for try := 0; ; try++ {
		fetched, err := s.fetch(ctx, all, progress)
		if err == nil {
			named, err = s.tagAll(all)
		}
		if errors.Is(err, ErrNotFound) && try < 5 {
			continue // somebody has removed a layer that was here a moment ago
		}
		if err != nil && isBad(err) {
			err = errors.Join(err, s.dropUnneeded(fetched))
		}
		if err != nil {
			return nil, explainFull(err, s.dir)
		}
		return named, s.collect() // of images that had the names before
	}
}

// isBad says that an error will come again, however often the same is tried.
func isBad(err error) bool {
	refused := (*RefusedError)(nil)
	return errors.Is(err, oci.ErrInvalid) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrFull) ||
		errors.As(err, &refused)
}

func (s *Store) fetch(ctx context.Context, all []incoming, progress func(Progress)) (fetched []state.Digest, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	seen := map[state.Digest]bool{}
	for _, in := range all {
		for _, layer := range in.layers {
			if seen[layer.digest] {
				continue
			}
			seen[layer.digest] = true
			here, err := s.Use(layer.digest)
			if err != nil {
				return fetched, errors.Join(err, g.Wait())
			}
			p := Progress{Layer: layer.digest, Total: layer.size, Here: here}
			progress(p)
			if here {
				continue
			}
			fetched = append(fetched, layer.digest)
			g.Go(func() error {
				err := layer.fetch(ctx, func(done int64) {
					p.Done = done
					progress(p)
				})
				if err != nil {
					return fmt.Errorf("layer %s: %w", layer.digest.Short(), err)
				}
				p.Here = true
				progress(p)
				return nil
			})
		}
	}
	return fetched, g.Wait()
}

func (s *Store) tagAll(all []incoming) (named []Image, err error) {
	err = s.locked(func() error {
		for _, in := range all {
			for _, layer := range in.layers {
				if !s.Has(layer.digest) {
					return fmt.Errorf("layer %s: %w", layer.digest.Short(), ErrNotFound)
				}
			}
		}
		for _, in := range all {
			for _, name := range in.names {
				image, err := s.tag(name, in.image)
				if err != nil {
					return err
				}
				named = append(named, image)
			}
		}
		return nil
	})
	return named, err
}
