package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Holds says whether a directory, the content of an archive, holds images, and not the root file system of one.
func Holds(fsys fs.FS) bool { return isLayout(fsys) || isArchive(fsys) }

func isLayout(fsys fs.FS) bool { return isFile(fsys, "oci-layout") && isFile(fsys, "index.json") }

func isFile(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.Mode().IsRegular()
}

// Open finds the images in a directory that Holds some, for a platform: the one that is asked for by name, or the
// only one there is, which then has that name; all that have names if name is nil. Nothing of fsys is trusted; it
// must not lead out of itself.
func Open(ctx context.Context, fsys fs.FS, name *Name, want v1.Platform) ([]*Image, error) {
	if isLayout(fsys) { // Docker writes both; this one has digests
		return layout{fsys}.images(ctx, name, want)
	}
	return archive{fsys}.images(name, want)
}

// archive reads what "docker save" writes (https://github.com/moby/docker-image-spec, v1.2, "Combined Image JSON +
// Filesystem Changeset Format").
type archive struct{ fs.FS }

// archived is an image as manifest.json lists it.
type archived struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func isArchive(fsys fs.FS) bool {
	list, err := archive{fsys}.list()
	return err == nil && len(list) > 0 && list[0].Config != "" && len(list[0].Layers) > 0
}

func (a archive) list() ([]archived, error) {
	content, err := readFile(a, "manifest.json", maxManifest)
	if err != nil {
		return nil, err
	}
	var list []archived
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, invalidf("its manifest.json can't be read: %w", err)
	}
	return list, nil
}

func (a archive) images(name *Name, want v1.Platform) ([]*Image, error) {
	list, err := a.list()
	if err != nil {
		return nil, err
	}
	chosen, err := choose(list, name)
	if err != nil {
		return nil, err
	}
	var images []*Image
	for _, c := range chosen {
		image, err := a.image(c.archived, want)
		if err != nil {
			return nil, err
		}
		image.Names = c.names
		images = append(images, image)
	}
	return images, nil
}

type namedArchived struct {
	archived
	names []Name
}

// choose takes those of an archive's images that Open is asked for, and names them.
func choose(list []archived, name *Name) ([]namedArchived, error) {
	var named []namedArchived
	for _, e := range list {
		n := namedArchived{archived: e}
		for _, tag := range e.RepoTags {
			has, err := ParseName(tag)
			if err != nil {
				return nil, invalidf("%w", err)
			}
			n.names = append(n.names, has)
		}
		if name != nil && (len(list) == 1 || slices.Contains(n.names, *name)) {
			return []namedArchived{{e, []Name{*name}}}, nil
		}
		if len(n.names) > 0 {
			named = append(named, n)
		}
	}
	switch {
	case len(named) == 0:
		return nil, fmt.Errorf("%w: its manifest.json has no RepoTags: give a name", ErrUnnamed)
	case name != nil:
		var all [][]Name
		for _, n := range named {
			all = append(all, n.names)
		}
		return nil, severalError(all)
	}
	return named, nil
}

func (a archive) image(e archived, want v1.Platform) (*Image, error) {
	document, err := readFile(a, path.Clean(e.Config), maxConfig)
	if err != nil {
		return nil, err
	}
	config, err := ParseConfig(document)
	if err != nil {
		return nil, err
	}
	if !Fits(config.Platform, want) {
		return nil, &PlatformError{Want: want, Have: []string{config.Platform.String()}}
	}
	if len(e.Layers) != len(config.Layers) {
		return nil, invalidf("its manifest.json names %d layers and its configuration %d", len(e.Layers), len(config.Layers))
	}
	image := &Image{Document: document, Config: config}
	for i, file := range e.Layers {
		image.Layers = append(image.Layers, Layer{
			Digest: config.Layers[i],
			Open: func(context.Context) (io.ReadCloser, error) {
				f, err := openFile(a, path.Clean(file))
				if errors.Is(err, fs.ErrNotExist) {
					return nil, invalidf("it has no layer %.200q", file)
				}
				return f, err
			},
		})
	}
	return image, nil
}
