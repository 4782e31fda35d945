package volumes

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

func sampleTar(t testing.TB) []byte {
	return tarOf(t,
		directory("./"), directory("./etc/"), regular("./etc/passwd", "root"), symlink("./bin", "usr/bin"),
		regular("./usr/bin/tool", "tool"), hardLink("./usr/bin/alias", "./usr/bin/tool"), symlink("./etc/mtab", "/proc/mounts"))
}

func digestOf(b []byte) state.Digest { return state.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(b))) }

func TestLoadTakesPlainGzipAndZstd(t *testing.T) {
	plain := sampleTar(t)
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, err := g.Write(plain)
	require.NoError(t, errors.Join(err, g.Close()))
	z, err := zstd.NewWriter(&zs)
	require.NoError(t, err)
	_, err = z.Write(plain)
	require.NoError(t, errors.Join(err, z.Close()))
	for name, packed := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			image, err := load(t, s, "docker.io/library/tool:1", bytes.NewReader(packed))
			require.NoError(t, err)
			require.Equal(t, digestOf(plain), image.Digest)
			layer := s.layerPath(image.Digest)
			require.Equal(t, "root", read(t, layer, "etc/passwd"))
			require.Equal(t, "tool", read(t, layer, "usr/bin/alias"))
			info, err := os.Lstat(filepath.Join(layer, "usr/bin/tool"))
			require.NoError(t, err)
			require.Equal(t, someTime, info.ModTime())
			require.EqualValues(t, 2, info.Sys().(*syscall.Stat_t).Nlink)
			found, err := s.Image("docker.io/library/tool:1")
			require.NoError(t, err)
			require.Equal(t, image, found)
		})
	}
}

func TestExportAndImportGiveTheSameLayer(t *testing.T) {
	from, to := newStore(t), newStore(t)
	image, err := load(t, from, "tool", bytes.NewReader(sampleTar(t)))
	require.NoError(t, err)
	var wire bytes.Buffer
	require.NoError(t, from.Export(t.Context(), image.Digest, &wire))
	require.EqualValues(t, image.Size, wire.Len())
	require.False(t, to.Has(image.Digest))
	require.NoError(t, to.Import(t.Context(), image.Digest, bytes.NewReader(wire.Bytes())))
	require.True(t, to.Has(image.Digest))
	requireSameTree(t, from.layerPath(image.Digest), to.layerPath(image.Digest))
	var again bytes.Buffer
	require.NoError(t, to.Export(t.Context(), image.Digest, &again))
	require.Equal(t, wire.Bytes(), again.Bytes())
	require.NoError(t, to.Import(t.Context(), image.Digest, nil), "a layer that is here is not read")
	tagged, err := to.Tag(image, "tool:moved")
	require.NoError(t, err)
	require.Equal(t, image.Size, tagged.Size)
}

func TestImportRefusesWhatHasAnotherDigest(t *testing.T) {
	from, to := newStore(t), newStore(t)
	image, err := load(t, from, "tool", bytes.NewReader(sampleTar(t)))
	require.NoError(t, err)
	var wire bytes.Buffer
	require.NoError(t, from.Export(t.Context(), image.Digest, &wire))
	blob := wire.Bytes()
	for name, bad := range map[string][]byte{
		"empty": nil, "cut": blob[:len(blob)/2], "cut at the end": blob[:len(blob)-1], "garbage": []byte("garbage, and more of it"),
		"flipped": flip(blob, len(blob)/2), "more behind": append(bytes.Clone(blob), 'x'),
	} {
		require.Error(t, to.Import(t.Context(), image.Digest, bytes.NewReader(bad)), name)
		requireEmpty(t, to)
	}
	other := digestOf([]byte("other"))
	require.ErrorIs(t, to.Import(t.Context(), other, bytes.NewReader(blob)), ErrCorrupt)
	require.Error(t, to.Import(t.Context(), "sha256:../../etc", bytes.NewReader(blob)))
	require.ErrorIs(t, to.Export(t.Context(), image.Digest, io.Discard), ErrNotFound)
	requireEmpty(t, to)
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x40
	return b
}

func TestLoadRefusesWhatIsNoWholeTar(t *testing.T) {
	s := newStore(t)
	whole := sampleTar(t)
	for name, bad := range map[string][]byte{
		"empty": nil, "only an end": make([]byte, 1024), "text": []byte("hello"), "gzip magic": {0x1f, 0x8b, 8},
		"xz": []byte("\xfd7zXZ\x00more"), "no end marker": whole[:len(whole)-1024], "cut in a header": whole[:700],
		"noise": bytes.Repeat([]byte{0xa5, 0x17}, 4096),
	} {
		_, err := load(t, s, "bad", bytes.NewReader(bad))
		require.Error(t, err, name)
		requireEmpty(t, s)
	}
	_, err := load(t, s, "../bad", bytes.NewReader(whole))
	require.ErrorContains(t, err, "image name")
	_, err = s.Image("bad")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestLoadKeepsItsLimits(t *testing.T) {
	whole := sampleTar(t)
	_, err := load(t, newStore(t, WithLimits(Limits{Entries: 3})), "x", bytes.NewReader(whole))
	require.ErrorIs(t, err, ErrTooLarge)
	s := newStore(t, WithLimits(Limits{Bytes: 7}))
	_, err = load(t, s, "x", bytes.NewReader(whole))
	require.ErrorIs(t, err, ErrTooLarge)
	requireEmpty(t, s)
	padded := append(bytes.Clone(whole), make([]byte, 1<<20)...)
	_, err = load(t, newStore(t, WithLimits(Limits{Entries: 100, Bytes: 1000})), "x", bytes.NewReader(padded))
	require.ErrorIs(t, err, ErrTooLarge, "padding has a limit too")
}

func TestLoadStopsWithItsContext(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := io.MultiReader(bytes.NewReader(sampleTar(t)[:1500]), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }))
	_, err := loadWith(ctx, s, "x", r)
	require.ErrorIs(t, err, context.Canceled)
	requireEmpty(t, s)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestSameLayerLoadedAtOnce(t *testing.T) {
	s := newStore(t)
	whole := sampleTar(t)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			_, err := load(t, s, fmt.Sprintf("image-%d", i%3), bytes.NewReader(whole))
			if err != nil {
				t.Error(err)
			}
			if i%4 == 0 {
				if _, err := s.Remove(fmt.Sprintf("image-%d", i%3)); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	_, err := load(t, s, "last", bytes.NewReader(whole))
	require.NoError(t, err)
	require.Equal(t, "root", read(t, s.layerPath(digestOf(whole)), "etc/passwd"))
	left, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestOpenStoreDeletesWhatACrashLeft(t *testing.T) {
	s := newStore(t)
	left, err := s.newScratch()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(left.layer(), "etc"), 0o755))
	_, err = OpenStore(s.dir)
	require.NoError(t, err)
	require.DirExists(t, left.path, "someone still works there")
	require.NoError(t, left.lock.Close()) // what the kernel does for a process that dies
	_, err = OpenStore(s.dir)
	require.NoError(t, err)
	requireEmpty(t, s)
}
