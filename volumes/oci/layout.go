package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations by which the descriptors of a layout's index.json name images.
const (
	refName       = "org.opencontainers.image.ref.name" // image-spec, annotations.md
	containerName = "io.containerd.image.name"          // containerd, BuildKit and Docker: complete where the first is but a tag
)

// layout reads an OCI image layout (image-spec, image-layout.md).
type layout struct{ fs.FS }

func (l layout) Manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return l.Blob(ctx, d)
}

func (l layout) Blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	f, err := openFile(l, "blobs/"+d.Digest.Algorithm+"/"+d.Digest.Hex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, invalidf("the layout has no blob %s", d.Digest)
	}
	return f, err
}

// images finds the images of a layout for a platform: the one that is asked for, or if name is nil all that have names.
func (l layout) images(ctx context.Context, name *Name, want v1.Platform) ([]*Image, error) {
	if err := l.checkVersion(); err != nil {
		return nil, err
	}
	content, err := readFile(l, "index.json", maxManifest)
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := parseManifest(content, types.OCIImageIndex, "index.json", &index); err != nil {
		return nil, err
	}
	named := l.named(index.Manifests)
	if name != nil {
		return l.one(ctx, *name, named, index.Manifests, want)
	}
	if len(named) == 0 {
		return nil, fmt.Errorf("%w: its index.json has no complete name: give one", ErrUnnamed)
	}
	var images []*Image
	for _, n := range named {
		image, err := Resolve(ctx, l, n.descriptor, want)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.names[0].Familiar(), err)
		}
		image.Names = n.names
		images = append(images, image)
	}
	return images, nil
}

// one finds the image that shall have a name: the one that has it already, else the only one that there is.
func (l layout) one(ctx context.Context, name Name, named []namedDescriptor, all []v1.Descriptor, want v1.Platform) ([]*Image, error) {
	root := v1.Descriptor{}
	for _, n := range named {
		for _, has := range n.names {
			if has == name {
				root = n.descriptor
			}
		}
	}
	var image *Image
	var err error
	switch {
	case root.Size > 0:
		image, err = Resolve(ctx, l, root, want)
	case len(named) > 1:
		var all [][]Name
		for _, n := range named {
			all = append(all, n.names)
		}
		return nil, severalError(all)
	case len(all) == 1:
		image, err = Resolve(ctx, l, all[0], want)
	default: // index.json is the index of one image for several platforms
		image, err = (&resolver{source: l, want: want}).choose(ctx, all, 0)
	}
	if err != nil {
		return nil, err
	}
	image.Names = []Name{name}
	return []*Image{image}, nil
}

// severalError refuses one name for images that have several.
func severalError(images [][]Name) error {
	var names []string
	for _, n := range images {
		names = append(names, n[0].Familiar())
	}
	return fmt.Errorf("%w: it holds %s: give one of these names, or none to load all of them",
		ErrUnnamed, strings.Join(names, ", "))
}

// namedDescriptor is a descriptor with all the names that it is listed under.
type namedDescriptor struct {
	descriptor v1.Descriptor
	names      []Name
}

func (l layout) named(all []v1.Descriptor) []namedDescriptor {
	var named []namedDescriptor
	at := map[v1.Hash]int{}
	for _, d := range all {
		name, ok := nameOf(d)
		if !ok {
			continue
		}
		i, seen := at[d.Digest]
		if !seen {
			i = len(named)
			at[d.Digest] = i
			named = append(named, namedDescriptor{descriptor: d})
		}
		named[i].names = append(named[i].names, name)
	}
	return named
}

// nameOf is the name in a descriptor's annotations. A bare word is a tag of whatever the layout is for, no name.
func nameOf(d v1.Descriptor) (Name, bool) {
	s := d.Annotations[containerName]
	if s == "" {
		s = d.Annotations[refName]
		if !strings.ContainsAny(s, ":/") {
			return Name{}, false
		}
	}
	name, err := ParseName(s)
	return name, err == nil
}

func (l layout) checkVersion() error {
	content, err := readFile(l, "oci-layout", maxManifest)
	if err != nil {
		return err
	}
	var version struct {
		Layout string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(content, &version); err != nil {
		return invalidf("its oci-layout can't be read: %w", err)
	}
	if version.Layout != "1.0.0" { // the only one there is (image-spec, image-layout.md)
		return invalidf("it is an OCI layout of version %.40q, where only 1.0.0 is known", version.Layout)
	}
	return nil
}

// openFile opens a regular file, and nothing else: to open a device or a FIFO can do things, or wait for ever.
func openFile(fsys fs.FS, name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, invalidf("%.200q is no path within it", name)
	}
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, invalidf("%s is no file", name)
	}
	return fsys.Open(name)
}

func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := openFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, invalidf("it has no %s", name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var content bytes.Buffer
	if n, err := content.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	} else if n > limit {
		return nil, invalidf("its %s has more than %d bytes", name, limit)
	}
	return content.Bytes(), nil
}
