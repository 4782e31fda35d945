package volumes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/drover-mesh/drover/durable"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

// An Image is a name for layers, and what is to be known of the programs in them.
type Image struct {
	Name     string          `json:"name"`               // as Docker's users write it: "redis:7", "ghcr.io/a/b:1"
	Digest   state.Digest    `json:"digest"`             // of Document; of its only layer if it has none
	Manifest state.Digest    `json:"manifest,omitempty"` // of what its name stood for at the registry, or in its layout
	Layers   []state.Digest  `json:"layers"`             // the lowest first; digests of the uncompressed tars
	Config   json.RawMessage `json:"config,omitempty"`   // the "config" object of Document; nil if it has none
	Document []byte          `json:"document,omitempty"` // the OCI image configuration, byte by byte; nil for a root file system's tar
	Platform string          `json:"platform"`           // what it runs on: "linux/amd64"
	Size     int64           `json:"size"`               // bytes of the packed layers: what goes to a node that lacks them
	Created  time.Time       `json:"created"`            // when it was built, as it says; when it was loaded if it doesn't
	Tagged   time.Time       `json:"tagged"`             // when it got its name, on whichever node it did
}

func (s *Store) imagePath(name oci.Name) string {
	sum := sha256.Sum256([]byte(name.String())) // a name can be longer than one of a file
	return filepath.Join(s.dir, "images", hex.EncodeToString(sum[:])+".json")
}

// Image returns the image of that name, or ErrNotFound. A name with a digest finds whatever was pulled by it.
func (s *Store) Image(name string) (Image, error) {
	parsed, err := oci.ParseName(name)
	if err != nil {
		return Image{}, err
	}
	image, err := s.readImage(s.imagePath(parsed))
	if !errors.Is(err, fs.ErrNotExist) {
		return image, err
	}
	if parsed.Digest != "" {
		return s.byManifest(parsed)
	}
	return Image{}, fmt.Errorf("image %s: %w", parsed.Familiar(), ErrNotFound)
}

func (s *Store) readImage(path string) (Image, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Image{}, fmt.Errorf("reading an image's record: %w", err)
	}
	var image Image
	if err := json.Unmarshal(content, &image); err != nil {
		return Image{}, fmt.Errorf("%s: %w: %w", path, ErrCorrupt, err)
	}
	return image, nil
}

// byManifest finds an image of a repository that has another name than the digest it is asked for by.
func (s *Store) byManifest(name oci.Name) (Image, error) {
	images, err := s.Images()
	if err != nil {
		return Image{}, err
	}
	for _, image := range images {
		has, err := oci.ParseName(image.Name)
		if err == nil && image.Manifest == name.Digest && has.Registry == name.Registry && has.Repository == name.Repository {
			return image, nil
		}
	}
	return Image{}, fmt.Errorf("image %s: %w", name.Familiar(), ErrNotFound)
}

// Find returns the images that a person means by a name, or by the first digits of a digest: one, or all the names of
// one image. It returns ErrNotFound, and ErrAmbiguous if the digits fit several images.
func (s *Store) Find(what string) ([]Image, error) {
	image, nameErr := s.Image(what)
	if nameErr == nil {
		return []Image{image}, nil
	}
	digits := strings.TrimPrefix(what, "sha256:")
	if len(digits) < 4 || strings.Trim(digits, "0123456789abcdef") != "" {
		return nil, nameErr
	}
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	images = slices.DeleteFunc(images, func(i Image) bool { return !strings.HasPrefix(hexOf(i.Digest), digits) })
	if len(images) == 0 {
		return nil, fmt.Errorf("image %s: %w", what, ErrNotFound)
	}
	for _, i := range images {
		if i.Digest != images[0].Digest {
			return nil, fmt.Errorf("%s: %w: %s and %s", what, ErrAmbiguous, images[0].Name, i.Name)
		}
	}
	return images, nil
}

// Images returns all images, sorted by name.
func (s *Store) Images() ([]Image, error) {
	files, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	images := make([]Image, 0, len(files))
	for _, file := range files {
		if filepath.Ext(file.Name()) != ".json" {
			continue // not in its place yet
		}
		image, err := s.readImage(filepath.Join(s.dir, "images", file.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return images, nil
}

// newName reads a name that a person gives to an image.
func newName(s string) (oci.Name, error) {
	name, err := oci.ParseName(s)
	if err == nil && name.Digest != "" {
		err = fmt.Errorf("image name %s is %w: take a tag: a digest is computed, not given", shorten(s), oci.ErrName)
	}
	return name, err
}

// Tag gives one more name to an image; another image that had the name loses it.
func (s *Store) Tag(image Image, name string) (Image, error) {
	parsed, err := newName(name)
	if err != nil {
		return Image{}, err
	}
	image.Tagged = time.Now()
	err = s.locked(func() error {
		var err error
		image, err = s.tag(parsed, image)
		return err
	})
	if err != nil {
		return Image{}, fmt.Errorf("naming image %s: %w", parsed.Familiar(), explainFull(err, s.dir))
	}
	return image, nil
}

// tag records an image under a name, if all its layers are here.
func (s *Store) tag(name oci.Name, image Image) (Image, error) {
	image.Name, image.Size = name.Familiar(), 0
	image.Created, image.Tagged = image.Created.UTC().Truncate(time.Second), image.Tagged.UTC().Truncate(time.Millisecond)
	for _, layer := range distinct(image.Layers) {
		size, err := s.Size(layer)
		if err != nil {
			return Image{}, err
		}
		image.Size += size
	}
	content, err := json.Marshal(image)
	if err != nil {
		return Image{}, err
	}
	return image, durable.WriteFile(s.imagePath(name), content, 0o600)
}

// distinct leaves out layers that come again.
func distinct(layers []state.Digest) []state.Digest {
	var out []state.Digest
	for _, l := range layers {
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}
