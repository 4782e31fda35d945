package registry

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	served "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/volumes/oci"
)

// server is a registry in this process, in front of which a test can put something of its own.
type server struct {
	*httptest.Server
	before atomic.Pointer[func(http.Handler, http.ResponseWriter, *http.Request)]
	asked  atomic.Int64 // for blobs
}

func serve(t *testing.T) *server {
	s := newServer(t)
	s.Start()
	return s
}

func newServer(t *testing.T) *server {
	s := &server{}
	inner := served.New(served.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.asked.Add(1)
		}
		if before := s.before.Load(); before != nil {
			(*before)(inner, w, r)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	return s
}

// intercept puts f in front of the registry.
func (s *server) intercept(f func(next http.Handler, w http.ResponseWriter, r *http.Request)) {
	s.before.Store(&f)
}

func (s *server) host() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.URL, "http://"), "https://")
}

func (s *server) name(t testing.TB, rest string) oci.Name {
	n, err := oci.ParseName(s.host() + "/" + rest)
	require.NoError(t, err)
	return n
}

// push puts an image or an index into the registry, before anything is in its way.
func (s *server) push(t testing.TB, rest string, x any) {
	t.Helper()
	ref, err := name.ParseReference(s.host() + "/" + rest)
	require.NoError(t, err)
	if index, ok := x.(v1.ImageIndex); ok {
		require.NoError(t, remote.WriteIndex(ref, index))
		return
	}
	require.NoError(t, remote.Write(ref, x.(v1.Image)))
}

func layerTar(t testing.TB, name string, content []byte) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1_700_000_000, 0)}))
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// imageFor makes an image of two layers, the second of some size that doesn't shrink.
func imageFor(t testing.TB, p v1.Platform, size int) v1.Image {
	t.Helper()
	image := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	image, err = mutate.ConfigFile(image, config)
	require.NoError(t, err)
	noise := make([]byte, size)
	for i, x := 0, uint32(size)+1; i < size; i++ { // xorshift, George Marsaglia
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		noise[i] = byte(x)
	}
	for i, content := range [][]byte{[]byte(p.String()), noise} {
		raw := layerTar(t, fmt.Sprint("file-", i), content)
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }, tarball.WithMediaType(types.OCILayer))
		require.NoError(t, err)
		image, err = mutate.AppendLayers(image, layer)
		require.NoError(t, err)
	}
	return image
}
