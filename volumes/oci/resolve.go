package oci

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxLooks is how many manifests are read to find one image.
const maxLooks = 64

// Resolve finds the image for a platform, beginning with an index or a manifest. If there is none it returns a
// *[PlatformError].
func Resolve(ctx context.Context, source Source, root v1.Descriptor, want v1.Platform) (*Image, error) {
	image, err := (&resolver{source: source, want: want}).resolve(ctx, root, 0)
	if err != nil {
		return nil, err
	}
	image.Manifest, err = digestOf(root.Digest)
	return image, err
}

type resolver struct {
	source Source
	want   v1.Platform
	looks  int
}

func (r *resolver) resolve(ctx context.Context, d v1.Descriptor, depth int) (*Image, error) {
	if r.looks++; r.looks > maxLooks || depth > maxDepth {
		return nil, invalidf("its indexes lead to more than %d manifests, or are nested deeper than %d", maxLooks, maxDepth)
	}
	switch {
	case d.MediaType.IsIndex():
		index, err := r.index(ctx, d)
		if err != nil {
			return nil, err
		}
		return r.choose(ctx, index.Manifests, depth)
	case d.MediaType.IsImage():
		return r.image(ctx, d)
	case d.MediaType.IsSchema1():
		return nil, invalidf("its manifest is of Docker's schema 1, which has no digests of its layers: push it anew with a tool of this decade")
	}
	return nil, invalidf("%s is of type %.100q, which is neither an image nor an index of images", d.Digest, d.MediaType)
}

// choose takes one of the manifests of an index.
func (r *resolver) choose(ctx context.Context, among []v1.Descriptor, depth int) (*Image, error) {
	var fitting, unlabelled []v1.Descriptor
	refused := &PlatformError{Want: r.want}
	for _, d := range among {
		switch {
		case isAttestation(d), !d.MediaType.IsImage() && !d.MediaType.IsIndex() && !d.MediaType.IsSchema1():
		case d.Platform == nil:
			unlabelled = append(unlabelled, d)
		case Fits(*d.Platform, r.want):
			fitting = append(fitting, d)
		default:
			refused.Have = append(refused.Have, d.Platform.String())
		}
	}
	if len(fitting) > 0 { // the variant that was asked for, else the first
		exact := slices.IndexFunc(fitting, func(d v1.Descriptor) bool { return variant(*d.Platform) == variant(r.want) })
		return r.resolve(ctx, fitting[max(exact, 0)], depth+1)
	}
	var found *Image
	for _, d := range unlabelled {
		image, err := r.resolve(ctx, d, depth+1)
		if other, ok := errors.AsType[*PlatformError](err); ok {
			refused.Have = append(refused.Have, other.Have...)
			continue
		}
		if err != nil {
			return nil, err
		}
		if found != nil && DigestOf(found.Document) != DigestOf(image.Document) {
			return nil, invalidf("it holds several images for %s and doesn't say which is meant", r.want)
		}
		found = image
	}
	if found != nil {
		return found, nil
	}
	if len(refused.Have) == 0 {
		return nil, invalidf("its index names no image")
	}
	slices.Sort(refused.Have)
	refused.Have = slices.Compact(refused.Have)
	return nil, refused
}

// isAttestation says that a manifest tells about another one, as BuildKit writes them.
func isAttestation(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.OS == "unknown"
}

func (r *resolver) manifest(ctx context.Context, d v1.Descriptor, into any) error {
	what := "manifest"
	if d.MediaType.IsIndex() {
		what = "index"
	}
	content, err := readAll(func() (io.ReadCloser, error) { return r.source.Manifest(ctx, d) }, d, what, maxManifest)
	if err != nil {
		return err
	}
	return parseManifest(content, d.MediaType, what, into)
}

// parseManifest reads an index or a manifest, and refuses what could be taken for either (CVE-2021-41190).
func parseManifest(content []byte, mediaType types.MediaType, what string, into any) error {
	var both struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		Config        json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(content, &both); err != nil {
		return invalidf("its %s can't be read: %w", what, err)
	}
	switch {
	case both.SchemaVersion != 2:
		return invalidf("its %s is of schema version %d, where only 2 is known", what, both.SchemaVersion)
	case both.MediaType != "" && both.MediaType != mediaType:
		return invalidf("its %s says that it is of type %.100q, and what refers to it says %.100q", what, both.MediaType, mediaType)
	case both.Manifests != nil && (both.Layers != nil || both.Config != nil):
		return invalidf("its %s has both layers and manifests", what)
	}
	if err := json.Unmarshal(content, into); err != nil {
		return invalidf("its %s can't be read: %w", what, err)
	}
	return nil
}

func (r *resolver) index(ctx context.Context, d v1.Descriptor) (v1.IndexManifest, error) {
	var index v1.IndexManifest
	err := r.manifest(ctx, d, &index)
	return index, err
}

func (r *resolver) image(ctx context.Context, d v1.Descriptor) (*Image, error) {
	var m v1.Manifest
	if err := r.manifest(ctx, d, &m); err != nil {
		return nil, err
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, invalidf("it is no container image: its configuration is of type %.100q", m.Config.MediaType)
	}
	document, err := readAll(func() (io.ReadCloser, error) { return r.source.Blob(ctx, m.Config) }, m.Config, "configuration", maxConfig)
	if err != nil {
		return nil, err
	}
	config, err := ParseConfig(document)
	if err != nil {
		return nil, err
	}
	if !Fits(config.Platform, r.want) {
		return nil, &PlatformError{Want: r.want, Have: []string{config.Platform.String()}}
	}
	if len(m.Layers) != len(config.Layers) {
		return nil, invalidf("its manifest names %d layers and its configuration %d", len(m.Layers), len(config.Layers))
	}
	image := &Image{Document: document, Config: config}
	for i, l := range m.Layers {
		if err := checkLayer(l); err != nil {
			return nil, err
		}
		image.Layers = append(image.Layers, Layer{
			Digest: config.Layers[i], Size: l.Size,
			Open: func(ctx context.Context) (io.ReadCloser, error) {
				blob, err := r.source.Blob(ctx, l)
				if err != nil {
					return nil, err
				}
				return verify(blob, l), nil
			},
		})
	}
	return image, nil
}

// maxLayer bounds a packed layer, in bytes. How much it may hold is the business of who unpacks it.
const maxLayer = 256 << 30

func checkLayer(d v1.Descriptor) error {
	switch {
	case !d.MediaType.IsLayer():
		return invalidf("its layer %s is of type %.100q: only tar, plain or packed with gzip or zstd, is known", d.Digest, d.MediaType)
	case !d.MediaType.IsDistributable():
		return invalidf("its layer %s may not be distributed (%s), and must be had from its vendor", d.Digest, d.MediaType)
	}
	return checkDescriptor(d, "layer", maxLayer)
}
