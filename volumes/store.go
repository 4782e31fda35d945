package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/state"
)

// A Store keeps layers, the names of images and the overlays of pods in one directory. Its methods may be called
// at once, from several goroutines and from several processes.
type Store struct {
	dir    string
	limits Limits
	keep   time.Duration // how long an unused layer stays
}

// An Option changes what OpenStore opens.
type Option func(*Store)

// WithLimits bounds each layer that comes in.
func WithLimits(l Limits) Option { return func(s *Store) { s.limits = l.withDefaults() } }

// OpenStore opens the store in dir, makes it if there is none, and deletes what a crash left half made there.
func OpenStore(dir string, options ...Option) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{limits: Limits{}.withDefaults(), keep: keepUnused}
	for _, option := range options {
		option(s)
	}
	// Layers hold set-uid programs of other systems: no user of this one may reach them.
	for _, sub := range []string{"", "blobs/sha256", "layers/sha256", "images", "pods", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("opening store: %w", explainFull(err, dir))
		}
	}
	// The kernel lists mounts by their real paths.
	if s.dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	if err := s.clean(); err != nil {
		return nil, fmt.Errorf("cleaning store %s: %w", dir, err)
	}
	if err := s.collect(); err != nil {
		return nil, fmt.Errorf("cleaning store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) blobPath(d state.Digest) string {
	return filepath.Join(s.dir, "blobs/sha256", hexOf(d)+".tar.zst")
}

// notesPath is where the notes on a layer are. There are none on most.
func (s *Store) notesPath(d state.Digest) string {
	return filepath.Join(s.dir, "blobs/sha256", hexOf(d)+".notes.json")
}

func (s *Store) layerPath(d state.Digest) string {
	return filepath.Join(s.dir, "layers/sha256", hexOf(d))
}

func hexOf(d state.Digest) string { return strings.TrimPrefix(string(d), "sha256:") }

// locked runs f while no other goroutine or process changes which layers and names there are.
func (s *Store) locked(f func() error) error {
	lock, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("locking store: %w", explainFull(err, s.dir))
	}
	defer lock.Close()
	if err := flock(lock, unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking store: %w", err)
	}
	return f()
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// A scratch is a directory under tmp, locked by the one who fills it: a locked one is in use, one that isn't was
// left by a crash.
type scratch struct {
	path string
	lock *os.File
}

func (s *Store) newScratch() (*scratch, error) {
	var made *scratch
	err := s.locked(func() error { // so that clean never sees one between its making and its lock
		dir, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "")
		if err != nil {
			return err
		}
		lock, err := os.Open(dir)
		if err != nil {
			return err
		}
		made = &scratch{path: dir, lock: lock}
		return flock(lock, unix.LOCK_EX)
	})
	if err != nil {
		if made != nil {
			_ = made.remove()
		}
		return nil, fmt.Errorf("making a temporary directory: %w", explainFull(err, s.dir))
	}
	return made, nil
}

func (t *scratch) remove() error {
	return errors.Join(removeTree(t.path), t.lock.Close())
}

// clean deletes the scratch directories that nobody holds.
func (s *Store) clean() error {
	return s.locked(func() error {
		left, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
		if err != nil {
			return err
		}
		for _, entry := range left {
			if err := cleanOne(filepath.Join(s.dir, "tmp", entry.Name())); err != nil {
				return err
			}
		}
		return nil
	})
}

func cleanOne(dir string) error {
	lock, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		return err
	}
	return removeTree(dir)
}

// SyncFS writes all that is cached of the file system of path to its disk. A snapshot of a running pod begins with
// it: afterwards the first store through a shared mapping into each page changes the file's time again, so that
// the next round sees it. After the last Apply it makes the copy as durable as the original was.
func SyncFS(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", path, err)
	}
	return nil
}
