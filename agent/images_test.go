package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	served "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes"
	"github.com/drover-mesh/drover/volumes/oci"
)

// registryServer is a registry on loopback, without TLS.
type registryServer struct {
	*httptest.Server
	asked atomic.Int64 // for layers and configurations
}

func newRegistryServer(t *testing.T) *registryServer {
	s := &registryServer{}
	inner := served.New(served.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.asked.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *registryServer) host() string { return strings.TrimPrefix(s.URL, "http://") }

// push makes an image of so many layers for an architecture.
func (s *registryServer) push(t *testing.T, ref, arch string, layers int64) v1.Image {
	t.Helper()
	image, err := random.Image(2000, layers)
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	image, err = mutate.ConfigFile(image, config)
	require.NoError(t, err)
	parsed, err := name.ParseReference(s.host() + "/" + ref)
	require.NoError(t, err)
	require.NoError(t, remote.Write(parsed, image))
	return image
}

// memoryPeers are nodes that are there only as their stores.
type memoryPeers struct {
	nodes  []string
	stores map[string]*volumes.Store
	spoil  map[string]func(io.Reader) io.Reader // of the layers of a node
	mu     sync.Mutex
	asked  []string // node and layer
}

func (m *memoryPeers) Nodes() []string { return m.nodes }

func (m *memoryPeers) Image(_ context.Context, node, name string) (volumes.Image, error) {
	if m.stores[node] == nil {
		return volumes.Image{}, errors.New("it is out of order")
	}
	image, err := m.stores[node].Image(name)
	image.Config, image.Size = nil, 0 // as it is told
	return image, err
}

func (m *memoryPeers) Exporter(node string) volumes.Exporter {
	return func(ctx context.Context, layer state.Digest) (io.ReadCloser, error) {
		m.mu.Lock()
		m.asked = append(m.asked, node)
		m.mu.Unlock()
		if m.stores[node] == nil {
			return nil, errors.New("it is out of order")
		}
		var blob bytes.Buffer
		if err := m.stores[node].Export(ctx, layer, &blob); err != nil {
			return nil, err
		}
		var r io.Reader = &blob
		if spoil := m.spoil[node]; spoil != nil {
			r = spoil(r)
		}
		return io.NopCloser(r), nil
	}
}

func newImageStore(t *testing.T) *volumes.Store {
	t.Helper()
	store, err := volumes.OpenStore(t.TempDir())
	require.NoError(t, err)
	return store
}

// imagesOf are the images of the node ams, which knows a registry.
func imagesOf(t *testing.T, s *registryServer, peers imagePeers) *images {
	registries := configs.Registries{}
	if s != nil {
		registries.Insecure = []string{s.host()}
	}
	return newImages("ams", newImageStore(t), peers, registries, slog.New(slog.DiscardHandler))
}

// pulledBy lets a node have an image from the registry.
func pulledBy(t *testing.T, s *registryServer, store *volumes.Store, ref string) volumes.Image {
	t.Helper()
	i := newImages("other", store, &memoryPeers{}, configs.Registries{Insecure: []string{s.host()}}, slog.New(slog.DiscardHandler))
	image, err := i.Ensure(t.Context(), s.host()+"/"+ref, pullAlways, nil)
	require.NoError(t, err)
	return image
}

func TestAnImageThatIsHereIsNotAskedFor(t *testing.T) {
	s := newRegistryServer(t)
	s.push(t, "tool:1", runtime.GOARCH, 2)
	peers := &memoryPeers{nodes: []string{"fra"}}
	i := imagesOf(t, s, peers)
	image := pulledBy(t, s, i.store, "tool:1")
	asked := s.asked.Load()
	for _, policy := range []string{"", pullIfNotPresent, pullNever} {
		found, err := i.Ensure(t.Context(), s.host()+"/tool:1", policy, nil)
		require.NoError(t, err)
		require.Equal(t, image, found)
	}
	require.Equal(t, asked, s.asked.Load())
	require.Empty(t, peers.asked)
}

func TestAlwaysAsksTheRegistryWhatANameStandsFor(t *testing.T) {
	s := newRegistryServer(t)
	s.push(t, "tool:1", runtime.GOARCH, 2)
	i := imagesOf(t, s, &memoryPeers{})
	first := pulledBy(t, s, i.store, "tool:1")
	asked := s.asked.Load()
	again, err := i.Ensure(t.Context(), s.host()+"/tool:1", pullAlways, nil)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, asked, s.asked.Load(), "it is what it was")
	s.push(t, "tool:1", runtime.GOARCH, 1)
	again, err = i.Ensure(t.Context(), s.host()+"/tool:1", pullAlways, nil)
	require.NoError(t, err)
	require.NotEqual(t, first.Digest, again.Digest)
	s.Close()
	_, err = i.Ensure(t.Context(), s.host()+"/tool:1", pullAlways, nil)
	require.Equal(t, api.Unavailable, api.AsError(err).Code)
	_, err = i.Ensure(t.Context(), s.host()+"/tool:1", pullIfNotPresent, nil)
	require.NoError(t, err)
}

func TestOnlyOneNodeNeedsTheRegistry(t *testing.T) {
	s := newRegistryServer(t)
	s.push(t, "tool:1", runtime.GOARCH, 3)
	peers := &memoryPeers{nodes: []string{"fra", "nyc"}, stores: map[string]*volumes.Store{"fra": newImageStore(t), "nyc": newImageStore(t)}}
	there := pulledBy(t, s, peers.stores["nyc"], "tool:1")
	s.Close()
	i := imagesOf(t, s, peers)
	var mu sync.Mutex
	here := map[state.Digest]bool{}
	image, err := i.Ensure(t.Context(), s.host()+"/tool:1", pullNever, func(p volumes.Progress) {
		mu.Lock()
		defer mu.Unlock()
		here[p.Layer] = p.Here
	})
	require.NoError(t, err)
	require.Equal(t, there, image, "it is the same in all, also how old its name is")
	for _, layer := range image.Layers {
		require.True(t, i.store.Has(layer))
		require.True(t, here[layer])
	}
	require.Equal(t, []string{"nyc", "nyc", "nyc"}, peers.asked, "who has the image is asked first")
	byDigest, err := i.Ensure(t.Context(), s.host()+"/tool@"+string(image.Manifest), "", nil)
	require.NoError(t, err)
	require.Equal(t, image, byDigest)
}

func TestTheNewestOfSeveralImagesOfANameCounts(t *testing.T) {
	s := newRegistryServer(t)
	peers := &memoryPeers{nodes: []string{"fra", "nyc"}, stores: map[string]*volumes.Store{"fra": newImageStore(t), "nyc": newImageStore(t)}}
	s.push(t, "tool:1", runtime.GOARCH, 1)
	pulledBy(t, s, peers.stores["fra"], "tool:1")
	s.push(t, "tool:1", runtime.GOARCH, 1)
	newer := pulledBy(t, s, peers.stores["nyc"], "tool:1")
	image, err := imagesOf(t, s, peers).Ensure(t.Context(), s.host()+"/tool:1", "", nil)
	require.NoError(t, err)
	require.Equal(t, newer.Digest, image.Digest)
}

func TestANodeThatFailsIsPassedOver(t *testing.T) {
	s := newRegistryServer(t)
	s.push(t, "tool:1", runtime.GOARCH, 2)
	cut := func(r io.Reader) io.Reader { return io.LimitReader(r, 300) }
	for name, spoil := range map[string]func(io.Reader) io.Reader{
		"cut":   cut,
		"error": func(r io.Reader) io.Reader { return io.MultiReader(cut(r), &failing{}) },
		"other": func(io.Reader) io.Reader { return strings.NewReader("something else") },
	} {
		t.Run(name, func(t *testing.T) {
			peers := &memoryPeers{
				nodes: []string{"gru", "fra", "nyc"}, spoil: map[string]func(io.Reader) io.Reader{"fra": spoil},
				stores: map[string]*volumes.Store{"fra": newImageStore(t), "nyc": newImageStore(t)},
			}
			pulledBy(t, s, peers.stores["fra"], "tool:1")
			pulledBy(t, s, peers.stores["nyc"], "tool:1")
			i := imagesOf(t, nil, peers)
			_, err := i.Ensure(t.Context(), s.host()+"/tool:1", pullNever, nil)
			require.NoError(t, err)

			peers.nodes = peers.nodes[:2]
			i = imagesOf(t, nil, peers)
			_, err = i.Ensure(t.Context(), s.host()+"/tool:1", pullNever, nil)
			require.Error(t, err)
			left, err := i.store.Images()
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errors.New("the link is down") }

func TestTheRegistryIsTheLastResort(t *testing.T) {
	s := newRegistryServer(t)
	s.push(t, "tool:1", runtime.GOARCH, 2)
	peers := &memoryPeers{nodes: []string{"fra"}, stores: map[string]*volumes.Store{"fra": newImageStore(t)}}
	i := imagesOf(t, s, peers)
	_, err := i.Ensure(t.Context(), s.host()+"/tool:1", pullNever, nil)
	require.ErrorContains(t, err, "its pull policy is Never")
	require.Zero(t, s.asked.Load())
	image, err := i.Ensure(t.Context(), s.host()+"/tool:1", "", nil)
	require.NoError(t, err)
	require.NotEmpty(t, image.Manifest)
}

func TestAnErrorTellsAllThatWasTried(t *testing.T) {
	s := newRegistryServer(t)
	peers := &memoryPeers{nodes: []string{"fra", "nyc"}, stores: map[string]*volumes.Store{"fra": newImageStore(t)}}
	i := imagesOf(t, s, peers)
	_, err := i.Ensure(t.Context(), s.host()+"/tool:1", "", nil)
	e := api.AsError(err)
	require.Equal(t, api.FailedPrecondition, e.Code)
	require.Contains(t, e.Why, "ams does not have it; fra does not have it; nyc does not say: it is out of order; "+s.host()+": the registry has no such image")
	require.Contains(t, e.Cure, "drover image load "+s.host()+"/tool:1 FILE.tar --node ams")

	_, err = i.Ensure(t.Context(), "localhost/tool", "", nil)
	require.ErrorContains(t, err, "localhost is no registry")
	_, err = i.Ensure(t.Context(), "Not A Name", "", nil)
	require.Equal(t, api.InvalidArgument, api.AsError(err).Code)
	_, err = imagesOf(t, nil, &memoryPeers{}).Ensure(t.Context(), s.host()+"/tool:1", "", nil)
	require.ErrorContains(t, err, "no other node is there")
	require.ErrorContains(t, err, "plain HTTP", "only where that was asked for")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = i.Ensure(ctx, s.host()+"/tool:1", "", nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAnImageForAnotherMachineIsRefused(t *testing.T) {
	s := newRegistryServer(t)
	s.push(t, "tool:1", "s390x", 1)
	peers := &memoryPeers{nodes: []string{"fra"}, stores: map[string]*volumes.Store{"fra": newImageStore(t)}}
	_, err := newImages("fra", peers.stores["fra"], &memoryPeers{}, configs.Registries{Insecure: []string{s.host()}}, slog.New(slog.DiscardHandler)).
		tryPull(t.Context(), pull{name: parseName(t, s.host()+"/tool:1"), platform: "linux/s390x"})
	require.NoError(t, err, "it may be pulled for nodes of that kind")
	_, err = imagesOf(t, s, peers).Ensure(t.Context(), s.host()+"/tool:1", "", nil)
	require.ErrorContains(t, err, "fra has it for linux/s390x")
	i := imagesOf(t, s, peers)
	i.store = peers.stores["fra"]
	_, err = i.Ensure(t.Context(), s.host()+"/tool:1", "", nil)
	require.ErrorContains(t, err, "it is for linux/s390x, and ams is linux/"+runtime.GOARCH)
	_, err = imagesOf(t, s, &memoryPeers{}).Ensure(t.Context(), s.host()+"/tool:1", pullAlways, nil)
	require.ErrorContains(t, err, "no image for linux/"+runtime.GOARCH+", only for linux/s390x")
}

func parseName(t *testing.T, s string) oci.Name {
	n, err := oci.ParseName(s)
	require.NoError(t, err)
	return n
}

func TestTwoWhoWantAnImageFetchItOnce(t *testing.T) {
	s := newRegistryServer(t)
	s.push(t, "tool:1", runtime.GOARCH, 3)
	i := imagesOf(t, s, &memoryPeers{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := i.Ensure(t.Context(), s.host()+"/tool:1", "", nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 4, s.asked.Load(), "three layers and a configuration")
	require.Empty(t, i.going)
}

func TestLayersAreFetchedOverTheWire(t *testing.T) {
	w := newSite(t)
	var content bytes.Buffer
	files := tar.NewWriter(&content)
	large := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	require.NoError(t, files.WriteHeader(&tar.Header{Name: "large", Mode: 0o644, Size: int64(len(large))}))
	_, err := files.Write(large)
	require.NoError(t, err)
	require.NoError(t, files.Close())
	loaded, err := w.layers.Load(t.Context(), volumes.LoadOptions{Name: "large"}, &content)
	require.NoError(t, err)

	p := w.peer("eve") // any node of the mesh, whether it takes part in a move or not
	r, err := p.fetchLayer(t.Context(), loaded[0].Digest)
	require.NoError(t, err)
	to := newImageStore(t)
	require.NoError(t, to.Import(t.Context(), loaded[0].Digest, r))
	require.NoError(t, r.Close())
	require.True(t, to.Has(loaded[0].Digest))

	_, err = p.fetchLayer(t.Context(), state.Digest("sha256:"+strings.Repeat("0", 64)))
	require.ErrorContains(t, err, "there is no layer sha256:000")
	_, err = p.fetchLayer(t.Context(), "sha256:../../../etc/passwd")
	require.ErrorContains(t, err, "there is no layer")
	r, err = p.fetchLayer(t.Context(), loaded[0].Digest)
	require.NoError(t, err)
	require.NoError(t, r.Close(), "half read")
}
