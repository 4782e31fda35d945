package volumes

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// decompress returns the tar in r, which may be plain or packed with gzip or zstd, told by its first bytes.
// The caller closes what it gets, not r.
func decompress(r *bufio.Reader) (io.ReadCloser, error) {
	head, err := r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}): // RFC 1952
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("reading gzip: %w", corrupt(err))
		}
		return z, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		return newZstdReader(r)
	case bytes.HasPrefix(head, []byte("\xfd7zXZ")), bytes.HasPrefix(head, []byte("BZh")):
		return nil, fmt.Errorf("%w: xz and bzip2 are not supported: unpack it, or use gzip or zstd", ErrCorrupt)
	}
	return io.NopCloser(r), nil
}

func newZstdReader(r io.Reader) (io.ReadCloser, error) {
	// One goroutine less to own, and a bound on what a crafted frame can make us allocate (zstd -22 --long=27 fits).
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return nil, fmt.Errorf("reading zstd: %w", corrupt(err))
	}
	return z.IOReadCloser(), nil
}
