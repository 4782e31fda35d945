package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/drover-mesh/drover/state"
)

// keepUnused is how long a layer stays that nothing needs: it may be one of an image that is still being pulled, or of
// a pod that left and will come back.
const keepUnused = 24 * time.Hour

// drop deletes those of the layers that nothing needs, and returns how many bytes they had, packed. They go into tmp,
// for its owner to delete without the lock; who calls has the lock.
func (s *Store) drop(layers []state.Digest, tmp *scratch) (freed int64, err error) {
	needed, err := s.needed()
	if err != nil {
		return 0, err
	}
	for _, layer := range layers {
		if needed[layer] {
			continue
		}
		if blob, err := os.Stat(s.blobPath(layer)); err == nil {
			freed += blob.Size()
		}
		// The blob goes first: without it the layer counts as absent, whatever happens now.
		for _, remove := range []func() error{
			func() error { return os.Remove(s.blobPath(layer)) },
			func() error { return os.Remove(s.notesPath(layer)) },
			func() error { return os.Rename(s.layerPath(layer), filepath.Join(tmp.path, hexOf(layer))) },
		} {
			if err := remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return freed, fmt.Errorf("removing layer %s: %w", layer.Short(), err)
			}
		}
	}
	return freed, nil
}

// dropUnneeded deletes those of the layers that nothing needs.
func (s *Store) dropUnneeded(layers []state.Digest) error {
	tmp, err := s.newScratch()
	if err != nil {
		return err
	}
	err = s.locked(func() error {
		_, err := s.drop(layers, tmp)
		return err
	})
	return errors.Join(err, tmp.remove())
}

// needed is the set of layers that an image has or an overlay stands on.
func (s *Store) needed() (map[state.Digest]bool, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	needed := map[state.Digest]bool{}
	for _, image := range images {
		for _, layer := range image.Layers {
			needed[layer] = true
		}
	}
	for _, lowers := range roots {
		for _, layer := range lowers {
			needed[layer] = true
		}
	}
	return needed, nil
}

// collect deletes the layers that nothing has needed for a while, and what a crash left of others.
func (s *Store) collect() error {
	tmp, err := s.newScratch()
	if err != nil {
		return err
	}
	err = s.locked(func() error {
		var stale []state.Digest
		for _, sub := range []string{"blobs/sha256", "layers/sha256"} {
			entries, err := os.ReadDir(filepath.Join(s.dir, sub))
			if err != nil {
				return err
			}
			for _, e := range entries {
				layer := state.Digest("sha256:" + strings.TrimSuffix(e.Name(), ".tar.zst"))
				if layer.Validate() == nil && s.isStale(layer) {
					stale = append(stale, layer)
				}
			}
		}
		_, err := s.drop(distinct(stale), tmp)
		return err
	})
	if err = errors.Join(err, tmp.remove()); err != nil {
		return fmt.Errorf("collecting unused layers: %w", err)
	}
	return nil
}

// isStale says that a layer was not used lately, or isn't whole.
func (s *Store) isStale(layer state.Digest) bool {
	blob, err := os.Stat(s.blobPath(layer))
	return err != nil || !s.Has(layer) || time.Since(blob.ModTime()) > s.keep
}

// Use says whether a layer is here, and keeps it for a while if it is: for one who will soon stand on it.
func (s *Store) Use(layer state.Digest) (bool, error) {
	has := false
	err := s.locked(func() error {
		if has = s.Has(layer); !has {
			return nil
		}
		now := time.Now()
		return os.Chtimes(s.blobPath(layer), now, now)
	})
	return has, err
}
