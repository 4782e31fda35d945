package oci

import (
	"context"
	"io"

	"github.com/drover-mesh/drover/state"
)

const (
	maxManifest = 4 << 20 // bytes of an index or a manifest: what registries must take (distribution-spec, Pushing Manifests)
	maxConfig   = 2 << 20 // bytes of a configuration
	maxLayers   = 128     // Docker stops at 127
	maxDepth    = 4       // indexes within indexes
)

// An Image is an image that can be taken in.
type Image struct {
	Names    []Name       // that its source gives it
	Manifest state.Digest // of the index or manifest that its name stands for, "" if there is none
	Document []byte       // the image configuration, byte by byte: its digest is the image's
	Config   Config       // what Document says
	Layers   []Layer      // the lowest first, as in Config
}

// A Layer is a layer of an image that can be fetched.
type Layer struct {
	Digest state.Digest // of the uncompressed tar
	Size   int64        // bytes as they come, 0 if that isn't known
	// Open fetches the layer, which may be compressed. Reading it fails if it isn't what its manifest says; that
	// shows only at its end, so it must be read until io.EOF.
	Open func(context.Context) (io.ReadCloser, error)
}
