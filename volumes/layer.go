package volumes

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/state"
)

// Load takes in the tar of a root file system, plain or packed with gzip or zstd, and gives it a name; an image
// that had the name loses it, and its layer stays. It reads tarball to its end. On an error nothing has changed.
func (s *Store) Load(ctx context.Context, name string, tarball io.Reader) (Image, error) {
	image, err := s.load(ctx, name, tarball)
	if err != nil {
		return Image{}, fmt.Errorf("loading image %s: %w", shorten(name), explainFull(err, s.dir))
	}
	return image, nil
}

func (s *Store) load(ctx context.Context, name string, tarball io.Reader) (Image, error) {
	if err := checkImageName(name); err != nil {
		return Image{}, err
	}
	tmp, err := s.newScratch()
	if err != nil {
		return Image{}, err
	}
	defer tmp.remove() //nolint:errcheck // what stays is deleted when the store is opened again
	plain, err := decompress(bufio.NewReaderSize(&contextReader{ctx, tarball}, 64<<10))
	if err != nil {
		return Image{}, err
	}
	defer plain.Close()
	var digest state.Digest
	err = writeFile(tmp.blob(), func(blob io.Writer) error {
		packed, err := zstd.NewWriter(blob)
		if err != nil {
			return err
		}
		digest, err = s.receive(ctx, tmp, io.TeeReader(plain, packed))
		return errors.Join(err, packed.Close())
	})
	if err != nil {
		return Image{}, err
	}
	var image Image
	err = s.publish(tmp, digest, func() error {
		image, err = s.tag(name, digest, time.Now())
		return err
	})
	return image, err
}

// Import takes in a layer as Export wrote it, which it reads to its end; it becomes visible only if it has the
// digest. If the layer is here already, Import returns without reading. On an error nothing has changed.
func (s *Store) Import(ctx context.Context, digest state.Digest, blob io.Reader) error {
	if s.Has(digest) {
		return nil
	}
	if err := s.importLayer(ctx, digest, blob); err != nil {
		return fmt.Errorf("importing layer %s: %w", digest.Short(), explainFull(err, s.dir))
	}
	return nil
}

func (s *Store) importLayer(ctx context.Context, digest state.Digest, blob io.Reader) error {
	if err := digest.Validate(); err != nil {
		return err
	}
	tmp, err := s.newScratch()
	if err != nil {
		return err
	}
	defer tmp.remove() //nolint:errcheck // as in load
	err = writeFile(tmp.blob(), func(w io.Writer) error {
		plain, err := newZstdReader(io.TeeReader(&contextReader{ctx, blob}, w))
		if err != nil {
			return err
		}
		defer plain.Close()
		got, err := s.receive(ctx, tmp, plain)
		if err == nil && got != digest {
			err = fmt.Errorf("%w: its content has the digest %s", ErrCorrupt, got)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.publish(tmp, digest, func() error { return nil })
}

// receive unpacks a tar into tmp and returns its digest.
func (s *Store) receive(ctx context.Context, tmp *scratch, plain io.Reader) (state.Digest, error) {
	if err := os.Mkdir(tmp.layer(), 0o700); err != nil {
		return "", err
	}
	hash := sha256.New()
	end := &endMarker{}
	// Headers count too: a tar of nothing but padding has no content that Limits could see.
	bound := &boundedReader{r: io.TeeReader(plain, io.MultiWriter(hash, end)), left: s.limits.Bytes + s.limits.Entries*4096}
	if err := unpack(ctx, bound, tmp.layer(), s.limits); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, bound); err != nil { // the padding behind the end belongs to the digest
		return "", err
	}
	if end.zeros < 1024 {
		return "", fmt.Errorf("%w: the tar is cut short: it has no end marker", ErrCorrupt)
	}
	return state.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil))), nil
}

// publish moves what is in tmp to its place, and runs then while the layer can't be removed again.
func (s *Store) publish(tmp *scratch, digest state.Digest, then func() error) error {
	if err := SyncFS(tmp.path); err != nil { // a layer that is visible is on disk, whatever happens next
		return err
	}
	return s.locked(func() error {
		// Whoever comes second finds the same content there.
		err := os.Rename(tmp.layer(), s.layerPath(digest))
		if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			return err
		}
		if err := os.Rename(tmp.blob(), s.blobPath(digest)); err != nil {
			return err
		}
		if err := errors.Join(syncDir(filepath.Dir(s.layerPath(digest))), syncDir(filepath.Dir(s.blobPath(digest)))); err != nil {
			return err
		}
		return then()
	})
}

// Has says if the layer is here, whole.
func (s *Store) Has(digest state.Digest) bool {
	if digest.Validate() != nil {
		return false
	}
	_, layerErr := os.Stat(s.layerPath(digest))
	_, blobErr := os.Stat(s.blobPath(digest))
	return layerErr == nil && blobErr == nil
}

// Size returns how many bytes a layer takes on the wire.
func (s *Store) Size(digest state.Digest) (int64, error) {
	info, err := os.Stat(s.blobPath(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("layer %s: %w", digest.Short(), ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("layer %s: %w", digest.Short(), err)
	}
	return info.Size(), nil
}

// Export writes the stored bytes of a layer, as Import takes them.
func (s *Store) Export(ctx context.Context, digest state.Digest, w io.Writer) error {
	if err := digest.Validate(); err != nil {
		return fmt.Errorf("exporting layer: %w", err)
	}
	blob, err := os.Open(s.blobPath(digest))
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("exporting layer %s: %w", digest.Short(), err)
	}
	defer blob.Close()
	if _, err := io.Copy(w, &contextReader{ctx, blob}); err != nil {
		return fmt.Errorf("exporting layer %s: %w", digest.Short(), err)
	}
	return nil
}

func (t *scratch) blob() string  { return filepath.Join(t.path, "blob") }
func (t *scratch) layer() string { return filepath.Join(t.path, "layer") }

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// A contextReader stops reading once its context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(b)
}

// A boundedReader fails once more than left bytes come.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: the tar has more bytes than is allowed", ErrTooLarge)
	}
	return n, err
}

// An endMarker counts the zero bytes at the end of what is written to it. A tar ends with two blocks of 512 of
// them (POSIX pax, "ustar Interchange Format"); archive/tar takes an end without them for one as well.
type endMarker struct{ zeros int }

func (e *endMarker) Write(b []byte) (int, error) {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			e.zeros = len(b) - 1 - i
			return len(b), nil
		}
	}
	e.zeros += len(b)
	return len(b), nil
}
