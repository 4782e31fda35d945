package volumes

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Apply makes an upper what a snapshot of Pack describes. It reads the snapshot and not a byte more, and returns
// nil only if its digest was right and it continues the snapshot that was applied last; the upper must not be
// mounted. After an error the upper is neither the old nor the new; a complete snapshot (one since the zero
// Manifest) mends it. Apply doesn't wait for the disk: see SyncFS.
func Apply(ctx context.Context, r io.Reader, upper string) error {
	path, err := filepath.EvalSymlinks(upper)
	if err == nil {
		err = apply(ctx, &contextReader{ctx, r}, path)
	}
	if err != nil {
		return fmt.Errorf("applying a snapshot to %s: %w", upper, explainFull(err, upper))
	}
	return nil
}

func apply(ctx context.Context, r io.Reader, upper string) error {
	if err := checkNotMounted(upper); err != nil {
		return err
	}
	frames, err := newFrameReader(r)
	if err != nil {
		return err
	}
	t, err := openTree(upper)
	if err != nil {
		return err
	}
	defer t.close()
	a := &applier{placer: newPlacer(t, true), in: frames, limits: Limits{}.withDefaults()}
	if err := a.begin(upper); err != nil {
		return err
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := a.in.next(); err != nil {
			return err
		}
		if a.in.kind == frameEnd {
			break
		}
		if err := a.step(); err != nil {
			return err
		}
	}
	if err := a.finish(); err != nil {
		return err
	}
	return os.WriteFile(roundFile(upper), []byte(hex.EncodeToString(a.in.payload)), 0o600)
}

// roundFile holds the digest of the snapshot that an upper is the result of, while it is.
func roundFile(upper string) string { return upper + ".round" }

// checkNotMounted refuses an upper under a live overlay: what that shows is then undefined (overlayfs.rst,
// "Changes to underlying filesystems").
func checkNotMounted(upper string) error {
	mounts, err := mountsBelow("")
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.fsType == "overlay" && m.isUpper(upper) {
			return fmt.Errorf("it is mounted at %s: unmount it first: %w", m.point, ErrInUse)
		}
	}
	return nil
}

type applier struct {
	*placer
	in      *frameReader
	limits  Limits
	entries bool // the first entry has come
}

// begin reads the base frame and sees to it that the upper is that base.
func (a *applier) begin(upper string) error {
	if err := a.in.next(); err != nil {
		return err
	}
	if a.in.kind != frameBase || len(a.in.payload) != 0 && len(a.in.payload) != 32 {
		return fmt.Errorf("%w: it doesn't say what it continues", ErrCorrupt)
	}
	last, err := os.ReadFile(roundFile(upper))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := len(a.in.payload) == 32 && !allZero(a.in.payload)
	if known && string(last) != hex.EncodeToString(a.in.payload) {
		return fmt.Errorf("%w: it continues another snapshot than the one applied last: send a complete one", ErrCorrupt)
	}
	if err := os.Remove(roundFile(upper)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(a.in.payload) > 0 {
		return nil
	}
	fd, err := unix.Openat(a.root, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return emptyDir(os.NewFile(uintptr(fd), upper))
}

func (a *applier) step() error {
	switch a.in.kind {
	case frameDeleted:
		name := string(a.in.payload)
		if a.entries {
			return fmt.Errorf("%w: a deletion behind an entry", ErrCorrupt)
		}
		if err := checkPath(name); err != nil {
			return err
		}
		return a.delete(name)
	case frameEntry:
		a.entries = true
		e, err := decodeEntry(a.in.payload)
		if err != nil {
			return err
		}
		if err := a.limits.spend(&entry{path: e.path}); err != nil { // of its size, chunks count
			return err
		}
		return a.place(e, func(f *os.File) error { return a.content(f, e) })
	}
	return fmt.Errorf("%w: a frame of type %q has no place here", ErrCorrupt, a.in.kind)
}

// content writes the chunks that follow an entry into its file.
func (a *applier) content(f *os.File, e *entry) error {
	if err := f.Truncate(e.size); err != nil {
		return fmt.Errorf("giving it %d bytes: %w", e.size, err)
	}
	for {
		if err := a.in.next(); err != nil {
			return err
		}
		if a.in.kind != frameChunk {
			a.in.again = true
			return nil
		}
		if len(a.in.payload) < 8 {
			return fmt.Errorf("%w: a chunk without an offset", ErrCorrupt)
		}
		offset, data := binary.LittleEndian.Uint64(a.in.payload), a.in.payload[8:]
		if offset > uint64(e.size) || uint64(len(data)) > uint64(e.size)-offset {
			return fmt.Errorf("%w: a chunk beyond the end of %s", ErrCorrupt, e.path)
		}
		if a.limits.Bytes -= int64(len(data)); a.limits.Bytes < 0 {
			return fmt.Errorf("%w: more content than is allowed", ErrTooLarge)
		}
		if _, err := f.WriteAt(data, int64(offset)); err != nil {
			return err
		}
	}
}
