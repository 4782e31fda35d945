package volumes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/drover-mesh/drover/state"
)

// An Image is a name for layers, and what is to be known of the programs in them.
type Image struct {
	Name     string          `json:"name"`
	Digest   state.Digest    `json:"digest"`           // of its configuration; of its only layer if it has none
	Layers   []state.Digest  `json:"layers"`           // the lowest first; digests of the uncompressed tars
	Config   json.RawMessage `json:"config,omitempty"` // the "config" object of the OCI image configuration; nil if it has none
	Platform string          `json:"platform"`         // what it runs on: "linux/amd64"
	Size     int64           `json:"size"`             // bytes of the packed layers: what goes to a node that lacks them
	Created  time.Time       `json:"created"`          // when it was built, as it says; when it was loaded if it doesn't
}

var imageName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,199}$`)

func checkImageName(name string) error {
	if !imageName.MatchString(name) {
		return fmt.Errorf("image name %q: take letters, digits and . _ : / @ -, at most 200, a letter or digit first", shorten(name))
	}
	return nil
}

func (s *Store) imagePath(name string) string {
	return filepath.Join(s.dir, "images", url.PathEscape(name)+".json")
}

// Image returns the image of that name, or ErrNotFound.
func (s *Store) Image(name string) (Image, error) {
	if err := checkImageName(name); err != nil {
		return Image{}, err
	}
	content, err := os.ReadFile(s.imagePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Image{}, fmt.Errorf("image %s: %w: load it with \"drover image load %s FILE.tar\"", name, ErrNotFound, name)
	}
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", name, err)
	}
	var image Image
	if err := json.Unmarshal(content, &image); err != nil {
		return Image{}, fmt.Errorf("image %s: %w: %w", name, ErrCorrupt, err)
	}
	return image, nil
}

// Images returns all images, sorted by name.
func (s *Store) Images() ([]Image, error) {
	files, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	images := make([]Image, 0, len(files))
	for _, file := range files {
		name, err := url.PathUnescape(strings.TrimSuffix(file.Name(), ".json"))
		if err != nil || checkImageName(name) != nil {
			continue // not written by us, or not whole yet
		}
		image, err := s.Image(name)
		if errors.Is(err, ErrNotFound) {
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

// Tag gives a name to a layer that is here; an image that had the name loses it.
func (s *Store) Tag(name string, digest state.Digest) (Image, error) {
	var image Image
	err := checkImageName(name)
	if err == nil {
		err = s.locked(func() error {
			var err error
			image, err = s.tag(name, digest, time.Now())
			return err
		})
	}
	if err != nil {
		return Image{}, fmt.Errorf("naming layer %s: %w", digest.Short(), explainFull(err, s.dir))
	}
	return image, nil
}

func (s *Store) tag(name string, digest state.Digest, now time.Time) (Image, error) {
	if !s.Has(digest) {
		return Image{}, fmt.Errorf("layer %s: %w", digest.Short(), ErrNotFound)
	}
	blob, err := os.Stat(s.blobPath(digest))
	if err != nil {
		return Image{}, err
	}
	image := Image{
		Name: name, Digest: digest, Layers: []state.Digest{digest}, Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Size: blob.Size(), Created: now.UTC().Truncate(time.Second),
	}
	content, err := json.Marshal(image)
	if err != nil {
		return Image{}, err
	}
	return image, replaceFile(s.imagePath(name), content)
}

// Remove takes a name away. Its layer goes too, unless another name or a pod's overlay needs it.
func (s *Store) Remove(name string) error {
	tmp, err := s.newScratch()
	if err != nil {
		return err
	}
	defer tmp.remove() //nolint:errcheck // as in load
	return s.locked(func() error {
		image, err := s.Image(name)
		if err != nil {
			return err
		}
		if err := os.Remove(s.imagePath(name)); err != nil {
			return fmt.Errorf("removing image %s: %w", name, err)
		}
		needed, err := s.needed(image.Digest)
		if err != nil || needed {
			return err
		}
		// The blob goes first: without it the layer counts as absent, whatever happens now.
		err = os.Remove(s.blobPath(image.Digest))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(s.layerPath(image.Digest), tmp.layer())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the layer of image %s: %w", name, err)
		}
		return nil
	})
}

// needed says if a name or a pod's overlay stands on the layer.
func (s *Store) needed(digest state.Digest) (bool, error) {
	images, err := s.Images()
	if err != nil {
		return false, err
	}
	for _, image := range images {
		if slices.Contains(image.Layers, digest) {
			return true, nil
		}
	}
	pods, err := os.ReadDir(filepath.Join(s.dir, "pods"))
	if err != nil {
		return false, err
	}
	for _, pod := range pods {
		lowers, err := s.readLowers(pod.Name())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if slices.Contains(lowers, digest) {
			return true, nil
		}
	}
	return false, nil
}
