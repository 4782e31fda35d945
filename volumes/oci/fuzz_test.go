package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"testing/fstest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
)

// same gives the same content for everything, and says that it is what was asked for.
type same map[types.MediaType][]byte

func (s same) Manifest(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return s.Blob(context.Background(), d)
}

func (s same) Blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s[d.MediaType])), nil
}

func describe(t types.MediaType, content []byte) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, t, DigestOf(content), len(content))
}

func FuzzResolve(f *testing.F) {
	const layer = `{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}`
	config := []byte(`{"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"config":{"Env":["A=b"]}}`)
	f.Add([]byte(`{"schemaVersion":2,"config":`+describe(types.OCIConfigJSON, config)+`,"layers":[`+layer+`]}`), config)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		s := same{types.OCIManifestSchema1: manifest, types.OCIImageIndex: manifest, types.OCIConfigJSON: config}
		for _, mediaType := range []types.MediaType{types.OCIManifestSchema1, types.OCIImageIndex} {
			hash, err := v1.NewHash(string(DigestOf(manifest)))
			require.NoError(t, err)
			image, err := Resolve(t.Context(), s, v1.Descriptor{MediaType: mediaType, Digest: hash, Size: int64(len(manifest))}, Host())
			if err != nil {
				continue
			}
			require.Len(t, image.Layers, len(image.Config.Layers))
			require.NotEmpty(t, image.Layers)
			for _, l := range image.Config.Layers {
				require.NoError(t, l.Validate())
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"imageLayoutVersion":"1.0.0"}`), []byte(`{"schemaVersion":2,"manifests":[]}`), []byte(`[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]`))
	f.Add([]byte(`{}`), []byte(nil), []byte(`[{"Config":"../../etc/passwd","Layers":["/etc/passwd"]}]`))
	f.Fuzz(func(t *testing.T, layout, index, manifest []byte) {
		files := fstest.MapFS{"manifest.json": {Data: manifest}, "c.json": {Data: index}, "l.tar": {Data: layout}}
		if len(index) > 0 {
			files["index.json"], files["oci-layout"] = &fstest.MapFile{Data: index}, &fstest.MapFile{Data: layout}
		}
		if !Holds(files) {
			return
		}
		images, err := Open(t.Context(), files, nil, Host())
		if err != nil {
			return
		}
		for _, image := range images {
			require.NotEmpty(t, image.Names)
		}
	})
}
