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

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/durable"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

// Import takes in a layer as Export wrote it, which it reads to its end; it becomes visible only if it has the
// digest. If the layer is here already, Import returns without reading. On an error nothing has changed.
func (s *Store) Import(ctx context.Context, digest state.Digest, blob io.Reader) error {
	if s.Has(digest) {
		return nil
	}
	if err := s.importLayer(ctx, digest, blob, nil); err != nil {
		return fmt.Errorf("importing layer %s: %w", digest.Short(), explainFull(err, s.dir))
	}
	return nil
}

func (s *Store) importLayer(ctx context.Context, digest state.Digest, blob io.Reader, tell func(int64)) error {
	if err := digest.Validate(); err != nil {
		return err
	}
	tmp, err := s.newScratch()
	if err != nil {
		return err
	}
	defer tmp.remove() //nolint:errcheck // what stays is deleted when the store is opened again
	in := &input{ctx: ctx, r: blob, tell: tell}
	err = writeFile(tmp.blob(), func(w io.Writer) error {
		plain, err := newZstdReader(io.TeeReader(in, w))
		if err != nil {
			return err
		}
		defer plain.Close()
		got, err := s.receive(ctx, tmp, in, plain, layerTar)
		return checkDigest(got, digest, err)
	})
	if err != nil {
		return in.because(err)
	}
	return s.publish(tmp, digest, func() error { return nil })
}

// importPacked takes in a layer as a registry or an archive has it.
func (s *Store) importPacked(ctx context.Context, layer oci.Layer, progress func(int64)) error {
	tmp, err := s.newScratch()
	if err != nil {
		return err
	}
	defer tmp.remove() //nolint:errcheck // as in importLayer
	blob, err := layer.Open(ctx)
	if err != nil {
		return err
	}
	defer blob.Close()
	in := &input{ctx: ctx, r: blob, tell: progress}
	got, err := s.repack(ctx, tmp, in, layerTar)
	if err := checkDigest(got, layer.Digest, err); err != nil {
		return in.because(err)
	}
	return s.publish(tmp, layer.Digest, func() error { return nil })
}

func checkDigest(got, want state.Digest, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("%w: its content has the digest %s", ErrCorrupt, got)
	}
	return err
}

// repack unpacks a tar, plain or packed, into tmp and packs it anew, as all layers are kept. It returns its digest.
func (s *Store) repack(ctx context.Context, tmp *scratch, in *input, kind tarKind) (digest state.Digest, err error) {
	buffered := bufio.NewReaderSize(in, 64<<10)
	plain, err := decompress(buffered)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	err = writeFile(tmp.blob(), func(blob io.Writer) error {
		packed, err := zstd.NewWriter(blob)
		if err != nil {
			return err
		}
		digest, err = s.receive(ctx, tmp, in, io.TeeReader(plain, packed), kind)
		return errors.Join(err, packed.Close())
	})
	if err != nil {
		return "", err
	}
	return digest, in.drain(buffered)
}

// receive unpacks a tar into tmp and returns its digest.
func (s *Store) receive(ctx context.Context, tmp *scratch, in *input, plain io.Reader, kind tarKind) (state.Digest, error) {
	if err := os.Mkdir(tmp.layer(), 0o700); err != nil {
		return "", err
	}
	hash := sha256.New()
	end := &endMarker{}
	bound := &unpacked{r: io.TeeReader(plain, io.MultiWriter(hash, end)), packed: in, limits: s.limits}
	notes, err := unpack(ctx, bound, tmp.layer(), s.limits, kind)
	if err != nil {
		return "", err
	}
	if err := notes.write(tmp.notes()); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, bound); err != nil { // the padding behind the end belongs to the digest
		return "", corrupt(err)
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
		if err := os.Rename(tmp.notes(), s.notesPath(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// The blob comes last: without it the layer counts as absent.
		if err := os.Rename(tmp.blob(), s.blobPath(digest)); err != nil {
			return err
		}
		if err := errors.Join(durable.SyncDir(filepath.Dir(s.layerPath(digest))), durable.SyncDir(filepath.Dir(s.blobPath(digest)))); err != nil {
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
func (t *scratch) notes() string { return filepath.Join(t.path, "notes.json") }

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
