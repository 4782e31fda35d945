package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

// LoadOptions say what Load shall make of a file.
type LoadOptions struct {
	Name     string // of the one image that is meant; "": those that the file itself gives to its images
	Platform string // of several, take the image for this one; "": for this machine
}

// Load takes in a file: an archive of images, which is an OCI layout or what "docker save" writes, or the root file
// system of one image; a tar in each case, plain or packed with gzip or zstd. It reads r to its end. Names move to the
// new images from those that had them. On an error nothing has changed.
func (s *Store) Load(ctx context.Context, o LoadOptions, r io.Reader) ([]Image, error) {
	images, err := s.load(ctx, o, r)
	if err != nil {
		return nil, explainFull(err, s.dir)
	}
	return images, nil
}

func (s *Store) load(ctx context.Context, o LoadOptions, r io.Reader) ([]Image, error) {
	var name *oci.Name
	if o.Name != "" {
		parsed, err := newName(o.Name)
		if err != nil {
			return nil, err
		}
		name = &parsed
	}
	platform, err := oci.ParsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	tmp, err := s.newScratch()
	if err != nil {
		return nil, err
	}
	defer tmp.remove() //nolint:errcheck // as in importLayer
	in := &input{ctx: ctx, r: r}
	digest, err := s.repack(ctx, tmp, in, rootTar)
	if err != nil {
		return nil, in.because(err)
	}
	content, err := os.OpenRoot(tmp.layer())
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if oci.Holds(content.FS()) {
		if err := os.Remove(tmp.blob()); err != nil {
			return nil, err
		}
		images, err := oci.Open(ctx, content.FS(), name, platform)
		if err != nil {
			return nil, err
		}
		return s.addAll(ctx, images)
	}
	if name == nil {
		return nil, fmt.Errorf("%w: it is a root file system, not an archive of images: give a name", oci.ErrUnnamed)
	}
	now := time.Now()
	image := Image{Digest: digest, Layers: []state.Digest{digest}, Platform: platform.String(), Created: now, Tagged: now}
	err = s.publish(tmp, digest, func() error {
		var err error
		image, err = s.tag(*name, image)
		return err
	})
	return []Image{image}, err
}

// addAll adds images and keeps nothing if it fails: all of it is at hand when it is tried again.
func (s *Store) addAll(ctx context.Context, images []*oci.Image) ([]Image, error) {
	added, err := s.Add(ctx, images, nil)
	if err == nil {
		return added, nil
	}
	var layers []state.Digest
	for _, image := range images {
		layers = append(layers, image.Config.Layers...)
	}
	return nil, errors.Join(err, s.dropUnneeded(distinct(layers)))
}
