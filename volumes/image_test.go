package volumes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

func TestNamesAreThoseOfDocker(t *testing.T) {
	s := newStore(t)
	image, err := load(t, s, "redis", bytes.NewReader(sampleTar(t)))
	require.NoError(t, err)
	require.Equal(t, "redis:latest", image.Name)
	for _, same := range []string{"redis", "redis:latest", "library/redis", "docker.io/redis", "docker.io/library/redis:latest", "index.docker.io/library/redis"} {
		found, err := s.Image(same)
		require.NoError(t, err, same)
		require.Equal(t, image, found)
	}
	for _, other := range []string{"redis:7", "localhost/redis", "ghcr.io/library/redis", "redis/redis", "redis@" + string(image.Digest)} {
		_, err := s.Image(other)
		require.ErrorIs(t, err, ErrNotFound, other)
	}
	_, err = s.Tag(image, "redis@"+string(image.Digest))
	require.ErrorContains(t, err, "a digest is computed, not given")
}

func TestAnImageIsFoundByItsDigest(t *testing.T) {
	s := newStore(t)
	file := tarDir(t, layoutOf(t, map[string]any{"a:1": twoLayers(t), "example.org/a:1": twoLayers(t)}))
	images, err := s.Load(t.Context(), LoadOptions{}, bytes.NewReader(file))
	require.NoError(t, err)
	require.Len(t, images, 2)
	for _, what := range []string{string(images[0].Digest), hexOf(images[0].Digest), hexOf(images[0].Digest)[:4]} {
		found, err := s.Find(what)
		require.NoError(t, err)
		require.Len(t, found, 2)
	}
	require.NotEmpty(t, images[0].Manifest)
	byManifest, err := s.Image("a@" + string(images[0].Manifest))
	require.NoError(t, err)
	require.Equal(t, "a:1", byManifest.Name)
	_, err = s.Image("b@" + string(images[0].Manifest))
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Find("abc")
	require.ErrorIs(t, err, ErrNotFound)
	found, err := s.Find("a:1")
	require.NoError(t, err)
	require.Len(t, found, 1)
}

func TestRemoveKeepsWhatIsNeeded(t *testing.T) {
	s := newStore(t)
	one, err := load(t, s, "one", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"one": imageOf(t, sampleTar(t))}))))
	require.NoError(t, err)
	two, err := load(t, s, "two", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"two": twoLayers(t)}))))
	require.NoError(t, err)
	require.Equal(t, one.Layers[0], two.Layers[0])
	_, err = s.Tag(two, "also:two")
	require.NoError(t, err)
	_, err = s.Prepare(t.Context(), "pod-1", two.Layers)
	require.NoError(t, err)

	freed, err := s.Remove("two")
	require.NoError(t, err, "it has another name")
	require.Zero(t, freed)
	_, err = s.Remove("also:two")
	var inUse *InUseError
	require.ErrorAs(t, err, &inUse)
	require.Equal(t, []string{"pod-1"}, inUse.Roots)
	require.ErrorIs(t, err, ErrInUse)
	freed, err = s.Remove("one")
	require.NoError(t, err, "no pod stands on it, though one does on its layer")
	require.Zero(t, freed)
	_, err = s.Remove("one")
	require.ErrorIs(t, err, ErrNotFound)

	require.NoError(t, s.RemoveRoot("pod-1"))
	freed, err = s.Remove("also:two")
	require.NoError(t, err)
	require.Equal(t, two.Size, freed)
	requireEmpty(t, s)
}

func TestUnusedLayersAreCollected(t *testing.T) {
	from, s := newStore(t), newStore(t)
	image, err := load(t, from, "x", bytes.NewReader(sampleTar(t)))
	require.NoError(t, err)
	bring := func() {
		var wire bytes.Buffer
		require.NoError(t, from.Export(t.Context(), image.Digest, &wire))
		require.NoError(t, s.Import(t.Context(), image.Digest, &wire))
	}
	age := func() {
		old := time.Now().Add(-2 * keepUnused)
		require.NoError(t, os.Chtimes(s.blobPath(image.Digest), old, old))
	}
	reopen := func() {
		_, err := OpenStore(s.dir)
		require.NoError(t, err)
	}
	bring()
	reopen()
	require.True(t, s.Has(image.Digest), "it came a moment ago")
	age()
	reopen()
	require.False(t, s.Has(image.Digest), "nothing has needed it for long")
	requireEmpty(t, s)

	bring()
	_, err = s.Prepare(t.Context(), "pod-1", image.Layers)
	require.NoError(t, err)
	age()
	reopen()
	require.True(t, s.Has(image.Digest), "a pod stands on it")
	require.NoError(t, s.RemoveRoot("pod-1"))
	require.True(t, s.Has(image.Digest), "the pod may come back")
	age()
	require.NoError(t, s.RemoveRoot("pod-2"))
	require.False(t, s.Has(image.Digest))

	bring()
	require.NoError(t, os.Remove(s.blobPath(image.Digest))) // as a crash would leave it
	reopen()
	requireEmpty(t, s)
}

func TestANameThatMovesLeavesNothing(t *testing.T) {
	s := newStore(t)
	s.keep = 0
	old, err := load(t, s, "x", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"x:latest": imageOf(t, tarOf(t, regular("a", "old")))}))))
	require.NoError(t, err)
	now, err := load(t, s, "x", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"x:latest": imageOf(t, tarOf(t, regular("a", "new")))}))))
	require.NoError(t, err)
	require.False(t, s.Has(old.Layers[0]))
	require.True(t, s.Has(now.Layers[0]))
}

func TestAddFetchesOnlyWhatIsMissing(t *testing.T) {
	s := newStore(t)
	_, err := load(t, s, "base", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"base:latest": imageOf(t, sampleTar(t))}))))
	require.NoError(t, err)
	image := imageFrom(t, twoLayers(t))
	opened := countOpens(image)
	var last atomic.Pointer[Progress]
	added, err := s.Add(t.Context(), []*oci.Image{image}, func(p Progress) {
		if p.Layer == image.Layers[1].Digest {
			last.Store(&p)
		}
	})
	require.NoError(t, err)
	require.Len(t, added, 1)
	require.EqualValues(t, 1, opened.Load())
	require.Equal(t, &Progress{Layer: image.Layers[1].Digest, Here: true, Done: image.Layers[1].Size, Total: image.Layers[1].Size}, last.Load())
	_, err = s.Add(t.Context(), []*oci.Image{image}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, opened.Load())
}

// imageFrom reads an image that another tool has made.
func imageFrom(t *testing.T, image v1.Image) *oci.Image {
	name, err := oci.ParseName("x:1")
	require.NoError(t, err)
	images, err := oci.Open(t.Context(), os.DirFS(layoutOf(t, map[string]any{"x:1": image})), &name, oci.Host())
	require.NoError(t, err)
	return images[0]
}

func countOpens(image *oci.Image) *atomic.Int64 {
	var opened atomic.Int64
	for i, l := range image.Layers {
		image.Layers[i].Open = func(ctx context.Context) (io.ReadCloser, error) {
			opened.Add(1)
			return l.Open(ctx)
		}
	}
	return &opened
}

func TestAnInterruptedAddGoesOnWhereItWas(t *testing.T) {
	s := newStore(t)
	image := imageFrom(t, imageOf(t, sampleTar(t), tarOf(t, regular("x", "x")), tarOf(t, regular("y", "y"))))
	whole := image.Layers[2]
	cut := errors.New("the network is away")
	image.Layers[2].Open = func(ctx context.Context) (io.ReadCloser, error) {
		r, err := whole.Open(ctx)
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(r, 20), readerFunc(func([]byte) (int, error) { return 0, cut })), r}, err
	}
	_, err := s.Add(t.Context(), []*oci.Image{image}, nil)
	require.ErrorIs(t, err, cut)
	require.NotErrorIs(t, err, ErrCorrupt)
	images, err := s.Images()
	require.NoError(t, err)
	require.Empty(t, images)
	left, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	require.NoError(t, err)
	require.Empty(t, left)

	image.Layers[2] = whole
	opened := countOpens(image)
	_, err = s.Add(t.Context(), []*oci.Image{image}, nil)
	require.NoError(t, err)
	require.LessOrEqual(t, opened.Load(), int64(3))
	require.True(t, s.Has(whole.Digest))
}

func TestAddFetchesAgainWhatIsRemovedMeanwhile(t *testing.T) {
	s := newStore(t)
	_, err := load(t, s, "base", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"base:latest": imageOf(t, sampleTar(t))}))))
	require.NoError(t, err)
	image := imageFrom(t, twoLayers(t))
	upper := image.Layers[1]
	image.Layers[1].Open = func(ctx context.Context) (io.ReadCloser, error) {
		if _, err := s.Remove("base"); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		return upper.Open(ctx)
	}
	added, err := s.Add(t.Context(), []*oci.Image{image}, nil)
	require.NoError(t, err)
	for _, layer := range added[0].Layers {
		require.True(t, s.Has(layer))
	}
}

func TestCopyTakesOnlyWhatTheDigestSays(t *testing.T) {
	from := newStore(t)
	images := map[string]Image{}
	var err error
	images["plain"], err = load(t, from, "plain", bytes.NewReader(sampleTar(t)))
	require.NoError(t, err)
	images["image"], err = load(t, from, "image", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"image:latest": twoLayers(t)}))))
	require.NoError(t, err)
	fetch := func(ctx context.Context, d state.Digest) (io.ReadCloser, error) {
		var blob bytes.Buffer
		err := from.Export(ctx, d, &blob)
		return io.NopCloser(&blob), err
	}
	for name, image := range images {
		s := newStore(t)
		copied, err := s.Copy(t.Context(), image, []Exporter{fetch}, nil)
		require.NoError(t, err, name)
		require.Equal(t, image, copied)
		found, err := s.Image(name)
		require.NoError(t, err)
		require.Equal(t, image, found)
	}
	spoil := func(name string, change func(*Image)) {
		s := newStore(t)
		image := images[name]
		change(&image)
		_, err := s.Copy(t.Context(), image, []Exporter{fetch}, nil)
		require.Error(t, err)
		require.True(t, isBad(err) || image.Digest.Validate() != nil, "%v", err)
		requireEmpty(t, s)
	}
	other := images["plain"].Digest
	spoil("image", func(i *Image) { i.Digest = other })
	spoil("image", func(i *Image) { i.Layers = i.Layers[:1] })
	spoil("image", func(i *Image) { i.Document = nil })
	spoil("image", func(i *Image) { i.Document = append(bytes.Clone(i.Document), ' ') })
	spoil("plain", func(i *Image) { i.Layers = []state.Digest{other, other} })
	spoil("plain", func(i *Image) { i.Digest, i.Layers = "x", []state.Digest{"x"} })
	liar := func(ctx context.Context, _ state.Digest) (io.ReadCloser, error) { return fetch(ctx, other) } // another layer than it is asked for
	absent := func(context.Context, state.Digest) (io.ReadCloser, error) {
		return nil, errors.New("the network is away")
	}
	s := newStore(t)
	_, err = s.Copy(t.Context(), images["image"], []Exporter{liar}, nil)
	require.ErrorIs(t, err, ErrCorrupt)
	requireEmpty(t, s)
	_, err = s.Copy(t.Context(), images["image"], []Exporter{absent, liar}, nil)
	require.ErrorContains(t, err, "the network is away")
	_, err = s.Copy(t.Context(), images["image"], []Exporter{absent, liar, fetch}, nil)
	require.NoError(t, err, "one will do")
}
