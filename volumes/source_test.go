package volumes

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/volumes/oci"
)

// imageOf makes an image as other tools make it: gzipped layers, for this machine.
func imageOf(t testing.TB, layers ...[]byte) v1.Image {
	t.Helper()
	return imageFor(t, oci.Host(), compression.GZip, layers...)
}

func imageFor(t testing.TB, p v1.Platform, c compression.Compression, layers ...[]byte) v1.Image {
	t.Helper()
	image := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config = v1.Config{Entrypoint: []string{"/bin/tool"}, Env: []string{"A=b"}, User: "1000:1000", WorkingDir: "/etc"}
	image, err = mutate.ConfigFile(image, config)
	require.NoError(t, err)
	for _, content := range layers {
		mediaType := types.OCILayer
		if c == compression.ZStd {
			mediaType = types.OCILayerZStd
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
			tarball.WithCompression(c), tarball.WithMediaType(mediaType))
		require.NoError(t, err)
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: mediaType})
		require.NoError(t, err)
	}
	return image
}

// twoLayers is an image of which the upper layer hides something of the lower.
func twoLayers(t testing.TB) v1.Image {
	return imageOf(t, sampleTar(t), tarOf(t, regular("etc/.wh.passwd", ""), regular("etc/shadow", "hidden")))
}

// named writes images and indexes into a layout under names, each its annotation's.
func layoutOf(t testing.TB, images map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	for ref, x := range images {
		o := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref})
		if ref == "" {
			o = layout.WithAnnotations(nil)
		}
		if index, ok := x.(v1.ImageIndex); ok {
			require.NoError(t, l.AppendIndex(index, o))
		} else {
			require.NoError(t, l.AppendImage(x.(v1.Image), o))
		}
	}
	return dir
}

// tarDir is the tar of a directory.
func tarDir(t testing.TB, dir string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	require.NoError(t, w.AddFS(os.DirFS(dir)))
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// archiveOf is what "docker save" writes of images.
func archiveOf(t testing.TB, images map[string]v1.Image) []byte {
	t.Helper()
	tags := map[name.Tag]v1.Image{}
	for ref, image := range images {
		tag, err := name.NewTag(ref)
		require.NoError(t, err)
		tags[tag] = image
	}
	var buf bytes.Buffer
	require.NoError(t, tarball.MultiWrite(tags, &buf))
	var files []tarFile // once more: as root's it could be unpacked by root only
	r := tar.NewReader(&buf)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return tarOf(t, files...)
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		files = append(files, regular(h.Name, string(content)))
	}
}

// edit changes the files of a directory whose names match a pattern.
func edit(t testing.TB, dir, pattern string, change func([]byte) []byte) {
	t.Helper()
	edited := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if match, err := filepath.Match(pattern, relative); err != nil || !match {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		edited++
		return os.WriteFile(path, change(content), 0o644)
	}))
	require.NotZero(t, edited, "no file is named %s", pattern)
}

// tarWithLinks is the tar of a directory that has symbolic links.
func tarWithLinks(t testing.TB, dir string) []byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var files []tarFile
	for _, e := range entries {
		switch target, err := os.Readlink(filepath.Join(dir, e.Name())); {
		case err == nil:
			files = append(files, symlink(e.Name(), target))
		case e.IsDir():
			files = append(files, directory(e.Name()))
		default:
			content, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			files = append(files, regular(e.Name(), string(content)))
		}
	}
	return tarOf(t, files...)
}
