package volumes

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/volumes/oci"
)

// forgery is a layout in the making, for tests to spoil.
type forgery struct {
	t        *testing.T
	dir      string
	layers   [][]byte                      // packed; gzip
	config   map[string]any                // of the image
	manifest func(m *v1.Manifest)          // may change it
	raw      func(manifest []byte) []byte  // may change it when it is written
	index    func(index *v1.IndexManifest) // may change it
	files    func(dir string)              // may change all of it
}

func (f *forgery) blob(content []byte, mediaType types.MediaType) v1.Descriptor {
	digest := digestOf(content)
	dir := filepath.Join(f.dir, "blobs/sha256")
	require.NoError(f.t, os.MkdirAll(dir, 0o755))
	require.NoError(f.t, os.WriteFile(filepath.Join(dir, hexOf(digest)), content, 0o644))
	return v1.Descriptor{MediaType: mediaType, Size: int64(len(content)), Digest: v1.Hash{Algorithm: "sha256", Hex: hexOf(digest)}}
}

func (f *forgery) json(x any, mediaType types.MediaType) v1.Descriptor {
	content, err := json.Marshal(x)
	require.NoError(f.t, err)
	return f.blob(content, mediaType)
}

// forge writes a layout of one good image of one layer, but for what spoil changes.
func forge(t *testing.T, spoil func(f *forgery)) []byte {
	layer := sampleTar(t)
	f := &forgery{
		t: t, dir: t.TempDir(), layers: [][]byte{gzipped(t, layer)},
		config: map[string]any{
			"os": "linux", "architecture": oci.Host().Architecture, "config": map[string]any{"Cmd": []string{"/bin/tool"}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{string(digestOf(layer))}},
		},
		manifest: func(*v1.Manifest) {}, raw: func(m []byte) []byte { return m }, index: func(*v1.IndexManifest) {}, files: func(string) {},
	}
	spoil(f)
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: f.json(f.config, types.OCIConfigJSON)}
	for _, l := range f.layers {
		m.Layers = append(m.Layers, f.blob(l, types.OCILayer))
	}
	f.manifest(&m)
	content, err := json.Marshal(m)
	require.NoError(t, err)
	d := f.blob(f.raw(content), types.OCIManifestSchema1)
	d.Annotations = map[string]string{"org.opencontainers.image.ref.name": "bad:1"}
	index := v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{d}}
	f.index(&index)
	content, err = json.Marshal(index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "index.json"), content, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	f.files(f.dir)
	return tarDir(t, f.dir)
}

// holding makes an image of one layer.
func holding(t *testing.T, layer []byte) func(f *forgery) {
	return func(f *forgery) {
		f.layers = [][]byte{gzipped(t, layer)}
		f.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{string(digestOf(layer))}}
	}
}

func withXattr(name, value string) tarFile {
	f := directory("d")
	f.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	return f
}

func TestBadImagesAreRefused(t *testing.T) {
	whole := sampleTar(t)
	blobOf := func(f *forgery, i int) string { return "blobs/sha256/" + hexOf(digestOf(f.layers[i])) }
	long := strings.Repeat("x", 5<<20)
	cases := map[string]struct {
		spoil func(f *forgery)
		want  string
	}{
		"a layer with another digest": {func(f *forgery) {
			f.files = func(dir string) { edit(f.t, dir, blobOf(f, 0), func(b []byte) []byte { return flip(b, 20) }) }
		}, "layer"},
		"a layer that is cut": {func(f *forgery) {
			f.files = func(dir string) { edit(f.t, dir, blobOf(f, 0), func(b []byte) []byte { return b[:len(b)/2] }) }
		}, "ends after"},
		"a layer with more behind it": {func(f *forgery) {
			f.files = func(dir string) { edit(f.t, dir, blobOf(f, 0), func(b []byte) []byte { return append(b, "more"...) }) }
		}, "is longer than the"},
		"a layer with garbage behind it": {func(f *forgery) { f.layers[0] = append(f.layers[0], "garbage"...) }, "corrupt"},
		"a layer without an end":         {func(f *forgery) { holding(t, whole[:len(whole)-1024])(f) }, "has no end marker"},
		"a layer that is no tar":         {func(f *forgery) { holding(t, bytes.Repeat([]byte("hello"), 300))(f) }, "it is no tar"},
		"a layer of another configuration": {func(f *forgery) {
			f.layers[0] = gzipped(t, tarOf(t, regular("x", "x")))
		}, "its content has the digest sha256:"},
		"a layer that is not there": {func(f *forgery) {
			f.files = func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, blobOf(f, 0)))) }
		}, "has no blob sha256:"},
		"an encrypted layer": {func(f *forgery) {
			f.manifest = func(m *v1.Manifest) { m.Layers[0].MediaType += "+encrypted" }
		}, `+encrypted": only tar, plain or packed with gzip or zstd, is known`},
		"a layer that only its vendor has": {func(f *forgery) {
			f.manifest = func(m *v1.Manifest) { m.Layers[0].MediaType = types.DockerForeignLayer }
		}, "may not be distributed"},
		"a digest that is none": {func(f *forgery) {
			f.raw = func(m []byte) []byte { return bytes.Replace(m, []byte("sha256:"), []byte("md5:"), 1) }
		}, "its manifest can't be read"},
		"a digest of another kind": {func(f *forgery) {
			f.manifest = func(m *v1.Manifest) { m.Layers[0].Digest = v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("ab", 64)} }
		}, "can't be verified"},
		"more layers than the configuration": {func(f *forgery) { f.layers = append(f.layers, f.layers[0]) }, "names 2 layers and its configuration 1"},
		"no layers": {func(f *forgery) {
			f.layers, f.config["rootfs"] = nil, map[string]any{"type": "layers", "diff_ids": []string{}}
		}, "names no layers"},
		"too many layers": {func(f *forgery) {
			f.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": slices.Repeat([]string{string(digestOf(whole))}, 200)}
		}, "it has 200 layers, more than 128"},
		"a configuration with another digest": {func(f *forgery) {
			f.manifest = func(m *v1.Manifest) { m.Config.Digest = m.Layers[0].Digest; m.Config.Size = m.Layers[0].Size + 1 }
		}, "ends after"},
		"a configuration that is none":   {func(f *forgery) { f.config = map[string]any{"rootfs": 3} }, "its configuration can't be read"},
		"an environment that is no list": {func(f *forgery) { f.config["config"] = map[string]any{"Env": "A=b"} }, "its configuration can't be read"},
		"a huge configuration":           {func(f *forgery) { f.config["author"] = long }, "its configuration has"},
		"an image for windows":           {func(f *forgery) { f.config["os"] = "windows" }, "only linux images run here"},
		"an image for another machine":   {func(f *forgery) { f.config["architecture"] = "s390x" }, "no image for linux/" + oci.Host().Architecture + ", only for linux/s390x"},
		"a root file system of another kind": {func(f *forgery) {
			f.config["rootfs"] = map[string]any{"type": "windows", "diff_ids": []string{string(digestOf(whole))}}
		}, `where only "layers" is known`},
		"an artifact": {func(f *forgery) {
			f.manifest = func(m *v1.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }
		}, "it is no container image"},
		"a manifest of schema 1": {func(f *forgery) {
			f.index = func(i *v1.IndexManifest) { i.Manifests[0].MediaType = types.DockerManifestSchema1Signed }
		}, "Docker's schema 1"},
		"a manifest of no known type": {func(f *forgery) {
			f.index = func(i *v1.IndexManifest) { i.Manifests[0].MediaType = "text/html" }
		}, "neither an image nor an index"},
		"a manifest of another type": {func(f *forgery) {
			f.index = func(i *v1.IndexManifest) { i.Manifests[0].MediaType = types.DockerManifestSchema2 }
		}, "and what refers to it says"},
		"a manifest that is an index too": {func(f *forgery) {
			f.raw = func(m []byte) []byte { return bytes.Replace(m, []byte(`{`), []byte(`{"manifests":[],`), 1) }
		}, "has both layers and manifests"},
		"a manifest with something behind it": {func(f *forgery) {
			f.raw = func(m []byte) []byte { return append(m, "{}"...) }
		}, "its manifest can't be read"},
		"a manifest that is cut":  {func(f *forgery) { f.raw = func(m []byte) []byte { return m[:len(m)/2] } }, "its manifest can't be read"},
		"a huge manifest":         {func(f *forgery) { f.manifest = func(m *v1.Manifest) { m.Annotations = map[string]string{"x": long} } }, "its manifest has"},
		"a manifest of version 1": {func(f *forgery) { f.manifest = func(m *v1.Manifest) { m.SchemaVersion = 1 } }, "of schema version 1"},
		"a manifest with another digest": {func(f *forgery) {
			f.index = func(i *v1.IndexManifest) { i.Manifests[0].Size++ }
		}, "ends after"},
		"an index that is none": {func(f *forgery) {
			f.files = func(dir string) { edit(f.t, dir, "index.json", func([]byte) []byte { return []byte("[]") }) }
		}, "its index.json can't be read"},
		"an index without images": {func(f *forgery) { f.index = func(i *v1.IndexManifest) { i.Manifests = nil } }, "index names no image"},
		"an index that goes on and on": {func(f *forgery) {
			f.index = func(i *v1.IndexManifest) {
				for range 10 {
					d := f.json(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: i.Manifests}, types.OCIImageIndex)
					d.Annotations = i.Manifests[0].Annotations
					i.Manifests = []v1.Descriptor{d}
				}
			}
		}, "nested deeper than"},
		"a layout of the future": {func(f *forgery) {
			f.files = func(dir string) {
				edit(f.t, dir, "oci-layout", func([]byte) []byte { return []byte(`{"imageLayoutVersion":"2.0.0"}`) })
			}
		}, "layout of version"},

		"a way out of the root":        {holding(t, tarOf(t, regular("../x", "x"))), `layer entry "../x" would land outside`},
		"a way out by a link":          {holding(t, tarOf(t, symlink("a", "/"), regular("a/etc/x", "x"))), "a is a symbolic link"},
		"a hard link to elsewhere":     {holding(t, tarOf(t, hardLink("x", "../../etc/passwd"))), "which lies outside its root"},
		"a hard link through a link":   {holding(t, tarOf(t, symlink("s", "/etc"), hardLink("x", "s/passwd"))), "s is a symbolic link"},
		"a hard link to a layer below": {holding(t, tarOf(t, hardLink("x", "etc/passwd"))), "which is no file of this layer"},
		"overlayfs's redirection":      {holding(t, tarOf(t, withXattr("trusted.overlay.redirect", "/etc"))), "sets trusted.overlay.redirect"},
		"overlayfs's opaque mark":      {holding(t, tarOf(t, withXattr("trusted.overlay.opaque", "y"))), "sets trusted.overlay.opaque"},
		"overlayfs's whiteout":         {holding(t, tarOf(t, tarFile{Header: tar.Header{Name: "x", Typeflag: tar.TypeChar}})), "character device 0:0"},
		"a whiteout of dots":           {holding(t, tarOf(t, regular("a/.wh...", ""))), "whiteout of no possible name"},
		"a whiteout of nothing":        {holding(t, tarOf(t, regular("a/.wh.", ""))), "whiteout of no possible name"},
		"a whiteout with content":      {holding(t, tarOf(t, regular("a/.wh.x", "x"))), "is no empty file"},
		"a whiteout that is a link":    {holding(t, tarOf(t, symlink("a/.wh.x", "y"))), "is no empty file"},
		"a file in a whiteout":         {holding(t, tarOf(t, regular("a/.wh.x/y", ""))), "in a directory with the name of an OCI whiteout"},
		"a whiteout out of the root":   {holding(t, tarOf(t, symlink("a", "/etc"), regular("a/.wh.passwd", ""))), "a is a symbolic link"},
		"AUFS's own":                   {holding(t, tarOf(t, regular(".wh..wh.plnk", ""))), "AUFS's own"},
		"too many files": {holding(t, func() []byte {
			var files []tarFile
			for i := range 21 {
				files = append(files, regular(fmt.Sprint(i), ""))
			}
			return tarOf(t, files...)
		}()), "too many entries"},
		"a file that is too large": {holding(t, tarOf(t, regular("x", strings.Repeat("\x00", 3<<20)))), "more content than is allowed"},
		"a bomb":                   {holding(t, tarOf(t, regular("x", strings.Repeat("\x00", 1<<20)))), "unpacks to more than 20 times its size"},
		"a bomb of padding":        {holding(t, append(bytes.Clone(whole), make([]byte, 1<<20)...)), "unpacks to more than 20 times its size"},
	}
	require.Greater(t, len(cases), 20)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, WithLimits(Limits{Entries: 20, Bytes: 2 << 20, Ratio: 20}))
			// The limits are those of layers here: what is around them is small.
			file := forge(t, func(f *forgery) { f.t = t; c.spoil(f) })
			if len(file) > 4<<20 {
				s = newStore(t)
			}
			_, err := s.Load(t.Context(), LoadOptions{Name: "bad:1"}, bytes.NewReader(file))
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), s.dir, "where it is unpacked is nobody's business")
			var platform *oci.PlatformError
			if !errors.As(err, &platform) {
				require.True(t, isBad(err), "%v is an error of the image's", err)
			}
			requireEmpty(t, s)
		})
	}
	_, err := newStore(t).Load(t.Context(), LoadOptions{}, bytes.NewReader(forge(t, func(*forgery) {})))
	require.NoError(t, err, "nothing is wrong with what is spoiled here")
}

func TestBadArchivesAreRefused(t *testing.T) {
	good := archiveOf(t, map[string]v1.Image{"x:1": twoLayers(t)})
	unpackTo := func(dir string) {
		r := tar.NewReader(bytes.NewReader(good))
		for h, err := r.Next(); err == nil; h, err = r.Next() {
			var content bytes.Buffer
			_, err := content.ReadFrom(r)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, h.Name), content.Bytes(), 0o644))
		}
	}
	manifest := func(dir string, change func(m map[string]any)) {
		edit(t, dir, "manifest.json", func(b []byte) []byte {
			var list []map[string]any
			require.NoError(t, json.Unmarshal(b, &list))
			change(list[0])
			b, err := json.Marshal(list)
			require.NoError(t, err)
			return b
		})
	}
	for name, c := range map[string]struct {
		spoil func(dir string)
		want  string
	}{
		"a configuration elsewhere": {func(dir string) {
			manifest(dir, func(m map[string]any) { m["Config"] = "../../../etc/passwd" })
		}, "is no path within it"},
		"an absolute layer": {func(dir string) {
			manifest(dir, func(m map[string]any) { m["Layers"] = []string{"/etc/passwd", "/etc/passwd"} })
		}, "is no path within it"},
		"a layer that is a link to elsewhere": {func(dir string) {
			require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
			manifest(dir, func(m map[string]any) { m["Layers"] = []string{"link", "link"} })
		}, "link"},
		"a layer that is a directory": {func(dir string) {
			require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
			manifest(dir, func(m map[string]any) { m["Layers"] = []string{"d", "d"} })
		}, "d is no file"},
		"a layer that is not there": {func(dir string) {
			manifest(dir, func(m map[string]any) { m["Layers"] = []string{"a", "b"} })
		}, `has no layer "`},
		"layers in another order": {func(dir string) {
			manifest(dir, func(m map[string]any) {
				l := m["Layers"].([]any)
				l[0], l[1] = l[1], l[0]
			})
		}, "its content has the digest"},
		"fewer layers": {func(dir string) {
			manifest(dir, func(m map[string]any) { m["Layers"] = m["Layers"].([]any)[:1] })
		}, "names 1 layers and its configuration 2"},
		"a tag that is none": {func(dir string) {
			manifest(dir, func(m map[string]any) { m["RepoTags"] = []string{"UPPER/case:x y"} })
		}, "invalid reference format"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			unpackTo(dir)
			c.spoil(dir)
			s := newStore(t)
			_, err := s.Load(t.Context(), LoadOptions{}, bytes.NewReader(tarWithLinks(t, dir)))
			require.ErrorContains(t, err, c.want)
			requireEmpty(t, s)
		})
	}
	s := newStore(t)
	_, err := s.Load(t.Context(), LoadOptions{}, bytes.NewReader(sampleTar(t)))
	require.ErrorIs(t, err, oci.ErrUnnamed)
	for _, bad := range []string{"A", "a:b:c", "../a", "a@sha256:00", "a@" + string(digestOf(nil)), strings.Repeat("0", 64), "a b", strings.Repeat("a", 300)} {
		_, err := s.Load(t.Context(), LoadOptions{Name: bad}, bytes.NewReader(sampleTar(t)))
		require.ErrorContains(t, err, "image name", bad)
	}
	requireEmpty(t, s)
}
