package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/drover-mesh/drover/durable"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

// An InUseError reports an image that pods stand on.
type InUseError struct {
	Image string
	Roots []string // of overlays, as they were given to Prepare
}

func (e *InUseError) Error() string { return fmt.Sprintf("image %s is used by %v", e.Image, e.Roots) }

// Is makes it an ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// Remove takes a name from an image, and deletes those of its layers that no other image and no pod needs. It
// returns how many bytes they had, packed. An image that pods stand on keeps its last name: *[InUseError].
func (s *Store) Remove(name string) (freed int64, err error) {
	image, err := s.Image(name)
	if err != nil {
		return 0, err
	}
	parsed, err := oci.ParseName(image.Name)
	if err != nil {
		return 0, err
	}
	tmp, err := s.newScratch()
	if err != nil {
		return 0, err
	}
	defer tmp.remove() //nolint:errcheck // what stays is deleted when the store is opened again
	err = s.locked(func() error {
		if err := s.checkUnused(image); err != nil {
			return err
		}
		if err := os.Remove(s.imagePath(parsed)); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("image %s: %w", image.Name, ErrNotFound)
		} else if err != nil {
			return fmt.Errorf("removing image %s: %w", image.Name, err)
		}
		// An image that a loss of power brings back must find its layers.
		if err := durable.SyncDir(filepath.Join(s.dir, "images")); err != nil {
			return fmt.Errorf("removing image %s: %w", image.Name, err)
		}
		freed, err = s.drop(image.Layers, tmp)
		return err
	})
	return freed, err
}

// checkUnused refuses an image that pods stand on and that has no other name.
func (s *Store) checkUnused(image Image) error {
	images, err := s.Images()
	if err != nil {
		return err
	}
	for _, other := range images {
		if other.Name != image.Name && slices.Equal(other.Layers, image.Layers) {
			return nil
		}
	}
	roots, err := s.roots()
	if err != nil {
		return err
	}
	var using []string
	for root, lowers := range roots {
		if slices.Equal(lowers, image.Layers) {
			using = append(using, root)
		}
	}
	if len(using) == 0 {
		return nil
	}
	slices.Sort(using)
	return &InUseError{Image: image.Name, Roots: using}
}

// roots returns the layers of each overlay.
func (s *Store) roots() (map[string][]state.Digest, error) {
	dirs, err := os.ReadDir(filepath.Join(s.dir, "pods"))
	if err != nil {
		return nil, err
	}
	roots := map[string][]state.Digest{}
	for _, dir := range dirs {
		lowers, err := s.readLowers(dir.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		roots[dir.Name()] = lowers
	}
	return roots, nil
}
