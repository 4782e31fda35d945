package volumes

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var someTime = time.Unix(1_700_000_000, 123_456_789)

// tarOf writes headers, with their content, as a tar; what a header leaves out is filled in.
func tarOf(t testing.TB, files ...tarFile) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := f.Header
		h.Format = tar.FormatPAX
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		if f.uid != 0 {
			h.Uid, h.Gid = f.uid, f.uid
		}
		if h.ModTime.IsZero() {
			h.ModTime = someTime
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		h.Size = int64(len(f.content))
		require.NoError(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, f.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

type tarFile struct {
	tar.Header
	content string
	uid     int
}

func regular(name, content string) tarFile {
	return tarFile{Header: tar.Header{Name: name}, content: content}
}
func directory(name string) tarFile {
	return tarFile{Header: tar.Header{Name: name, Typeflag: tar.TypeDir}}
}
func symlink(name, target string) tarFile {
	return tarFile{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}}
}
func hardLink(name, target string) tarFile {
	return tarFile{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}}
}

func newStore(t testing.TB, options ...Option) *Store {
	t.Helper()
	s, err := OpenStore(filepath.Join(t.TempDir(), "store"), options...)
	require.NoError(t, err)
	return s
}

// requireEmpty checks that nothing of a failed Load or Import is left.
func requireEmpty(t testing.TB, s *Store) {
	t.Helper()
	for _, sub := range []string{"tmp", "images", "blobs/sha256", "layers/sha256"} {
		left, err := os.ReadDir(filepath.Join(s.dir, sub))
		require.NoError(t, err)
		require.Empty(t, left, sub)
	}
}

func read(t testing.TB, elements ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(elements...))
	require.NoError(t, err)
	return strings.TrimSpace(string(content))
}

// load loads a file that holds one image.
func load(t testing.TB, s *Store, name string, r io.Reader) (Image, error) {
	t.Helper()
	return loadWith(t.Context(), s, name, r)
}

func loadWith(ctx context.Context, s *Store, name string, r io.Reader) (Image, error) {
	images, err := s.Load(ctx, LoadOptions{Name: name}, r)
	if err != nil {
		return Image{}, err
	}
	return images[0], nil
}
