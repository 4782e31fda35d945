package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/drover-mesh/drover/state"
)

// A Source has the parts of images, by their digests. What it gives need not be checked.
type Source interface {
	// Manifest opens an index or a manifest.
	Manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	// Blob opens a configuration or a layer.
	Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// verified reads what a descriptor describes, and fails where it differs.
type verified struct {
	io.Closer
	r    io.Reader
	want v1.Descriptor
	hash hash.Hash
	read int64
}

func verify(r io.ReadCloser, d v1.Descriptor) io.ReadCloser {
	return &verified{Closer: r, r: r, want: d, hash: sha256.New()}
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	if v.read += int64(n); v.read > v.want.Size {
		return 0, invalidf("blob %s is longer than the %d bytes that it should have", v.want.Digest, v.want.Size)
	}
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if v.read < v.want.Size {
		return n, invalidf("blob %s ends after %d of its %d bytes", v.want.Digest, v.read, v.want.Size)
	}
	if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Digest.Hex {
		return n, invalidf("blob %s has the digest sha256:%s", v.want.Digest, got)
	}
	return n, io.EOF
}

// checkDescriptor refuses what can't be verified, or is too large for its kind.
func checkDescriptor(d v1.Descriptor, what string, limit int64) error {
	if _, err := digestOf(d.Digest); err != nil {
		return invalidf("its %s can't be verified: %w", what, err)
	}
	if d.Size < 0 || d.Size > limit {
		return invalidf("its %s has %d bytes, where %d are allowed", what, d.Size, limit)
	}
	return nil
}

// readAll reads a small blob.
func readAll(open func() (io.ReadCloser, error), d v1.Descriptor, what string, limit int64) ([]byte, error) {
	if err := checkDescriptor(d, what, limit); err != nil {
		return nil, err
	}
	r, err := open()
	if err != nil {
		return nil, err
	}
	r = verify(r, d)
	defer r.Close()
	return io.ReadAll(r)
}

// DigestOf is the digest of a document.
func DigestOf(document []byte) state.Digest {
	sum := sha256.Sum256(document)
	return state.Digest("sha256:" + hex.EncodeToString(sum[:]))
}
