package volumes

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

func TestLoadTakesLayoutsAndArchives(t *testing.T) {
	image := twoLayers(t)
	zstd := imageFor(t, oci.Host(), compression.ZStd, sampleTar(t))
	for name, c := range map[string]struct {
		file  []byte
		image v1.Image
	}{
		"layout":         {tarDir(t, layoutOf(t, map[string]any{"example.org/tool:1": image})), image},
		"zstd layers":    {tarDir(t, layoutOf(t, map[string]any{"example.org/tool:1": zstd})), zstd},
		"packed layout":  {gzipped(t, tarDir(t, layoutOf(t, map[string]any{"example.org/tool:1": image}))), image},
		"docker archive": {archiveOf(t, map[string]v1.Image{"example.org/tool:1": image}), image},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			images, err := s.Load(t.Context(), LoadOptions{}, bytes.NewReader(c.file))
			require.NoError(t, err)
			require.Len(t, images, 1)
			requireIs(t, images[0], c.image)
			require.Equal(t, "example.org/tool:1", images[0].Name)
			for _, layer := range images[0].Layers {
				require.True(t, s.Has(layer))
			}
			found, err := s.Image("example.org/tool:1")
			require.NoError(t, err)
			require.Equal(t, images[0], found)
			_, err = s.Image("example.org/tool")
			require.ErrorIs(t, err, ErrNotFound)
			other, err := s.Load(t.Context(), LoadOptions{Name: "mine"}, bytes.NewReader(c.file))
			require.NoError(t, err)
			require.Equal(t, "mine:latest", other[0].Name)
		})
	}
}

// requireIs checks what is known of an image.
func requireIs(t *testing.T, got Image, want v1.Image) {
	t.Helper()
	config, err := want.ConfigName()
	require.NoError(t, err)
	require.Equal(t, config.String(), string(got.Digest))
	file, err := want.ConfigFile()
	require.NoError(t, err)
	var layers []state.Digest
	for _, l := range file.RootFS.DiffIDs {
		layers = append(layers, state.Digest(l.String()))
	}
	require.Equal(t, layers, got.Layers)
	require.Equal(t, oci.Host().String(), got.Platform)
	var run v1.Config
	require.NoError(t, json.Unmarshal(got.Config, &run))
	require.Equal(t, file.Config, run)
	require.NotZero(t, got.Size)
}

func gzipped(t testing.TB, b []byte) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	_, err := z.Write(b)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return buf.Bytes()
}

func TestLoadKeepsAllNamesOfAnArchive(t *testing.T) {
	one, two := imageOf(t, sampleTar(t)), twoLayers(t)
	for name, file := range map[string][]byte{
		"layout":         tarDir(t, layoutOf(t, map[string]any{"a/one:1": one, "a/one:latest": one, "b:2": two})),
		"docker archive": archiveOf(t, map[string]v1.Image{"a/one:1": one, "a/one:latest": one, "b:2": two}),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			images, err := s.Load(t.Context(), LoadOptions{}, bytes.NewReader(file))
			require.NoError(t, err)
			require.Len(t, images, 3)
			all, err := s.Images()
			require.NoError(t, err)
			require.Len(t, all, 3)
			require.Equal(t, []string{"a/one:1", "a/one:latest", "b:2"}, []string{all[0].Name, all[1].Name, all[2].Name})
			require.Equal(t, all[0].Digest, all[1].Digest)
			blobs, err := os.ReadDir(s.dir + "/blobs/sha256")
			require.NoError(t, err)
			names := map[string]bool{}
			for _, b := range blobs {
				names[b.Name()] = true
			}
			require.Len(t, distinct(append(all[0].Layers, all[2].Layers...)), 2, "they share a layer")
			require.True(t, names[hexOf(all[0].Layers[0])+".tar.zst"])

			_, err = s.Load(t.Context(), LoadOptions{Name: "c"}, bytes.NewReader(file))
			require.ErrorIs(t, err, oci.ErrUnnamed)
			require.ErrorContains(t, err, "a/one:")
			chosen, err := newStore(t).Load(t.Context(), LoadOptions{Name: "docker.io/library/b:2"}, bytes.NewReader(file))
			require.NoError(t, err)
			require.Len(t, chosen, 1)
			requireIs(t, chosen[0], two)
		})
	}
}

func TestLoadChoosesThePlatform(t *testing.T) {
	here, arm := imageOf(t, sampleTar(t)), imageFor(t, v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, compression.GZip, sampleTar(t))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}},
		mutate.IndexAddendum{Add: here, Descriptor: v1.Descriptor{Platform: platformPointer(oci.Host())}},
		mutate.IndexAddendum{Add: twoLayers(t), Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
		}})
	for name, file := range map[string][]byte{
		"index":     tarDir(t, layoutOf(t, map[string]any{"x:1": index})),
		"unlabeled": tarDir(t, layoutOf(t, map[string]any{"": arm, "one": here})),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			images, err := s.Load(t.Context(), LoadOptions{Name: "x:1"}, bytes.NewReader(file))
			require.NoError(t, err)
			requireIs(t, images[0], here)
			images, err = s.Load(t.Context(), LoadOptions{Name: "x:1", Platform: "linux/arm64"}, bytes.NewReader(file))
			require.NoError(t, err)
			require.Equal(t, "linux/arm64/v8", images[0].Platform)
			_, err = s.Load(t.Context(), LoadOptions{Name: "x:1", Platform: "linux/s390x"}, bytes.NewReader(file))
			require.ErrorContains(t, err, "no image for linux/s390x, only for linux/"+oci.Host().Architecture)
			require.ErrorContains(t, err, "linux/arm64")
			_, err = s.Load(t.Context(), LoadOptions{Name: "x:1", Platform: "windows/amd64"}, bytes.NewReader(file))
			require.ErrorContains(t, err, "take linux/ARCHITECTURE")
		})
	}
}

func platformPointer(p v1.Platform) *v1.Platform { return &p }
