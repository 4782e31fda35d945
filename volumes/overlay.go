package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/durable"
	"github.com/drover-mesh/drover/state"
)

// A Root is where the root file system of a pod is.
type Root struct {
	Path  string // the overlay's mount point, once it is mounted
	Upper string // what the pod has written; the only part that moves with it
	Work  string // overlayfs's own
}

var podUID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}$`)

func (s *Store) podPath(uid string) (string, error) {
	if !podUID.MatchString(uid) {
		return "", fmt.Errorf("pod UID %q: take letters, digits and . _ -, at most 128, a letter or digit first", shorten(uid))
	}
	return filepath.Join(s.dir, "pods", uid), nil
}

func rootIn(dir string) Root {
	return Root{Path: filepath.Join(dir, "rootfs"), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
}

// Prepare makes the directories of a pod's overlay and holds the layers that it stands on, the lowest first,
// against removal; it doesn't mount. An arriving upper must be applied between Prepare and Mount, since
// overlayfs forbids changes below a mounted overlay. Calling it again with the same layers changes nothing.
func (s *Store) Prepare(ctx context.Context, uid string, lowers []state.Digest) (Root, error) {
	root, err := s.prepare(ctx, uid, lowers)
	if err != nil {
		return Root{}, fmt.Errorf("preparing the root file system of pod %s: %w", shorten(uid), explainFull(err, s.dir))
	}
	return root, nil
}

func (s *Store) prepare(ctx context.Context, uid string, lowers []state.Digest) (Root, error) {
	dir, err := s.podPath(uid)
	if err != nil {
		return Root{}, err
	}
	if len(lowers) == 0 {
		return Root{}, errors.New("it needs at least one layer")
	}
	if ctx.Err() != nil {
		return Root{}, context.Cause(ctx)
	}
	root := rootIn(dir)
	return root, s.locked(func() error {
		for _, lower := range lowers {
			if !s.Has(lower) {
				return fmt.Errorf("layer %s: %w", lower.Short(), ErrNotFound)
			}
		}
		before, err := s.readLowers(uid)
		if err == nil && !slices.Equal(before, lowers) {
			return fmt.Errorf("it stands on other layers (%v): remove it first: %w", before, ErrInUse)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, sub := range []string{dir, root.Path, root.Work} {
			if err := os.MkdirAll(sub, 0o700); err != nil {
				return err
			}
		}
		if err := s.makeUpper(root.Upper, lowers); err != nil {
			return err
		}
		if before != nil {
			return nil
		}
		content, err := json.Marshal(lowers)
		if err != nil {
			return err
		}
		return durable.WriteFile(filepath.Join(dir, "lowers.json"), content, 0o600)
	})
}

func (s *Store) readLowers(uid string) ([]state.Digest, error) {
	content, err := os.ReadFile(filepath.Join(s.dir, "pods", uid, "lowers.json"))
	if err != nil {
		return nil, err
	}
	var lowers []state.Digest
	if err := json.Unmarshal(content, &lowers); err != nil {
		return nil, fmt.Errorf("layers of pod %s: %w: %w", uid, ErrCorrupt, err)
	}
	return lowers, nil
}

// keepLowers lets the layers of an overlay stay for a while without it: its pod may come back.
func (s *Store) keepLowers(uid string) error {
	lowers, err := s.readLowers(uid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now := time.Now()
	for _, lower := range lowers {
		if err := os.Chtimes(s.blobPath(lower), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Mount mounts the root file system of a pod over its layers, the lowest first, and prepares it if need be. If
// it is mounted already that is all. Mounts made inside it don't show elsewhere (private propagation).
func (s *Store) Mount(ctx context.Context, uid string, lowers []state.Digest) (Root, error) {
	root, err := s.Prepare(ctx, uid, lowers)
	if err != nil {
		return Root{}, err
	}
	if err := s.mount(root, lowers); err != nil {
		return Root{}, fmt.Errorf("mounting the root file system of pod %s: %w", uid, err)
	}
	return root, nil
}

func (s *Store) mount(root Root, lowers []state.Digest) error {
	return s.locked(func() error {
		mounts, err := mountsBelow(root.Path)
		if err != nil {
			return err
		}
		for _, m := range mounts {
			if m.point == root.Path {
				if m.fsType == "overlay" && m.isUpper(root.Upper) {
					return nil
				}
				return fmt.Errorf("something else (%s) is mounted at %s: unmount it: %w", m.fsType, root.Path, ErrInUse)
			}
		}
		// From now on the pod changes it, and no snapshot can continue from what was applied.
		if err := os.Remove(roundFile(root.Upper)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.mountOverlay(root, lowers); err != nil {
			return err
		}
		if err := unix.Mount("", root.Path, "", unix.MS_PRIVATE, ""); err != nil {
			return errors.Join(fmt.Errorf("making it private: %w", err), unix.Unmount(root.Path, unix.UMOUNT_NOFOLLOW))
		}
		return nil
	})
}

// overlayOptions chooses what makes an upper independent of the place and the lowers that it was made on
// (Documentation/filesystems/overlayfs.rst): no index of file handles, no inode numbers that depend on the layers,
// no file whose content or whose children are elsewhere.
func overlayOptions(root Root, lowers []string) (string, error) {
	options := "lowerdir=" + strings.Join(lowers, ":") +
		",upperdir=" + escapeOption(root.Upper) + ",workdir=" + escapeOption(root.Work) +
		",index=off,xino=off,metacopy=off,redirect_dir=nofollow"
	if len(options) >= os.Getpagesize() { // mount(2) takes one page
		return "", fmt.Errorf("%w: the kernel takes no more names of layers than fit into %d bytes", ErrTooLarge, os.Getpagesize())
	}
	return options, nil
}

func (s *Store) mountOverlay(root Root, lowers []state.Digest) error {
	var paths []string
	for _, lower := range s.stack(lowers) {
		paths = append(paths, escapeOption(s.layerPath(lower)))
	}
	options, err := overlayOptions(root, paths)
	if err != nil { // some 40 layers: with shorter names for them there is room for more than an image may have
		short, closeAll, openErr := s.openLayers(lowers)
		if openErr != nil {
			return openErr
		}
		defer closeAll()
		if options, err = overlayOptions(root, short); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", root.Path, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay (%s): %w", options, err)
	}
	return nil
}

// openLayers names layers by open descriptors.
func (s *Store) openLayers(lowers []state.Digest) (paths []string, closeAll func(), err error) {
	var open []int
	closeAll = func() {
		for _, fd := range open {
			_ = unix.Close(fd)
		}
	}
	for _, lower := range s.stack(lowers) {
		fd, err := unix.Open(s.layerPath(lower), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("opening layer %s: %w", lower.Short(), err)
		}
		open = append(open, fd)
		paths = append(paths, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	return paths, closeAll, nil
}

var optionEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`)

func escapeOption(path string) string { return optionEscaper.Replace(path) }

// Unmount unmounts the root file system of a pod, if it is mounted; its files stay. It fails while a process, or
// a mount inside it, still uses it.
func (s *Store) Unmount(uid string) error {
	dir, err := s.podPath(uid)
	if err != nil {
		return err
	}
	root := rootIn(dir)
	return s.locked(func() error {
		mounts, err := mountsBelow(root.Path)
		if err != nil {
			return fmt.Errorf("unmounting the root file system of pod %s: %w", uid, err)
		}
		for _, m := range mounts {
			if m.point != root.Path {
				return fmt.Errorf("unmounting the root file system of pod %s: %s is mounted inside: %w", uid, m.point, ErrInUse)
			}
		}
		for range mounts { // more than one if someone mounted over it
			err := unix.Unmount(root.Path, unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EBUSY) {
				err = fmt.Errorf("%w: a process still has files open in it: %w", ErrInUse, err)
			}
			if err != nil {
				return fmt.Errorf("unmounting %s: %w", root.Path, err)
			}
		}
		return nil
	})
}

// RemoveRoot deletes the files of a pod's overlay; its layers stay. It refuses while anything is mounted there,
// and crosses no mount point. A pod that has none is fine.
func (s *Store) RemoveRoot(uid string) error {
	dir, err := s.podPath(uid)
	if err != nil {
		return err
	}
	trash, err := s.newScratch()
	if err != nil {
		return err
	}
	err = s.locked(func() error {
		mounts, err := mountsBelow(dir)
		if err != nil {
			return err
		}
		if len(mounts) > 0 {
			return fmt.Errorf("%s is mounted: unmount it first: %w", mounts[0].point, ErrInUse)
		}
		if err := s.keepLowers(uid); err != nil {
			return err
		}
		// Out of the way at once: many files take long to delete, and others wait for the lock.
		err = durable.Rename(dir, filepath.Join(trash.path, "pod"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err = errors.Join(err, trash.remove()); err != nil {
		return fmt.Errorf("removing the root file system of pod %s: %w", uid, err)
	}
	return s.collect()
}
