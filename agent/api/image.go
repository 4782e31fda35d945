package api

import (
	"context"
	"encoding/json"
	"io"
	"time"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

// Images loads, pulls, shows and removes the images of a node; "" means the asked node. A Backend is asked for its own
// node only. Where an image that is there is meant, its name will do, or the first digits of its digest.
type Images interface {
	// LoadImage reads a file to its end and returns the images that it holds. An error of r other than io.EOF means that
	// it was cut: nothing may be kept.
	LoadImage(ctx context.Context, o LoadImage, r io.Reader) ([]Image, error)
	ListImages(ctx context.Context, node string) ([]Image, error)
	// InspectImage returns an image with its Document.
	InspectImage(ctx context.Context, name, node string) (Image, error)
	TagImage(ctx context.Context, name, tag, node string) (Image, error)
	RemoveImage(ctx context.Context, name, node string) (RemovedImage, error)
	// PullImage fetches an image from its registry. progress may be called from several goroutines.
	PullImage(ctx context.Context, o PullImage, progress func(LayerProgress)) (Image, error)
}

// Image is an image in the store of a node.
type Image struct {
	Name     string    `json:"name"`     // as Docker's users write it: "redis:7"
	Digest   string    `json:"digest"`   // of its configuration; of its only layer if it has none
	Manifest string    `json:"manifest"` // digest of what the name stood for at its source; may be empty
	Layers   []string  `json:"layers"`   // digests of the uncompressed layers, the lowest first
	Platform string    `json:"platform"` // "linux/amd64"
	Size     int64     `json:"size"`     // bytes of the packed layers
	Created  time.Time `json:"created"`  // when it was built
	Tagged   time.Time `json:"tagged"`   // when it got its name
	Node     string    `json:"node"`
	Document []byte    `json:"-"` // the OCI image configuration, byte by byte; nil in lists, and if it has none
}

// LoadImage says what to make of a file.
type LoadImage struct {
	Name     string // "" takes the names in the file
	Node     string
	Platform string // of several images of a name, the one for this; "" is the node's own
}

// PullImage says what to pull.
type PullImage struct {
	Reference   string
	Node        string
	Platform    string // "" is the node's own
	Insecure    bool   // plain HTTP, or a certificate that nobody vouches for, will do
	Credentials *RegistryCredentials
}

// RegistryCredentials are as in Docker's config.json. Nil are those that the node has.
type RegistryCredentials struct {
	Username      string
	Password      string
	IdentityToken string
	RegistryToken string
}

// LayerProgress is how far the coming of one layer is.
type LayerProgress struct {
	Layer      string `json:"layer"`
	Here       bool   `json:"here"` // it is on the node, or is now
	BytesDone  int64  `json:"bytes_done"`
	BytesTotal int64  `json:"bytes_total"` // 0 is unknown
}

// RemovedImage is a name that was removed.
type RemovedImage struct {
	Name  string `json:"name"`
	Freed int64  `json:"freed"` // bytes of the packed layers that went with it
}

// Config is the "config" object of the image's Document, or nil.
func (i Image) Config() json.RawMessage {
	var document struct {
		Config json.RawMessage `json:"config"`
	}
	if json.Unmarshal(i.Document, &document) != nil {
		return nil
	}
	return document.Config
}

func imageToProto(i Image) *droverv1.Image {
	return &droverv1.Image{
		Name: i.Name, Digest: i.Digest, Manifest: i.Manifest, Layers: i.Layers, Platform: i.Platform, Size: i.Size,
		Created: timeToProto(i.Created), Tagged: timeToProto(i.Tagged), Node: i.Node, Document: i.Document,
	}
}

func imageFromProto(i *droverv1.Image) Image {
	return Image{
		Name: i.GetName(), Digest: i.GetDigest(), Manifest: i.GetManifest(), Layers: each(i.GetLayers(), same), Platform: i.GetPlatform(),
		Size: i.GetSize(), Created: timeFromProto(i.GetCreated()), Tagged: timeFromProto(i.GetTagged()), Node: i.GetNode(), Document: i.GetDocument(),
	}
}

func credentialsToProto(c *RegistryCredentials) *droverv1.RegistryCredentials {
	if c == nil {
		return nil
	}
	return &droverv1.RegistryCredentials{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
}

func credentialsFromProto(c *droverv1.RegistryCredentials) *RegistryCredentials {
	if c == nil {
		return nil
	}
	return &RegistryCredentials{Username: c.GetUsername(), Password: c.GetPassword(), IdentityToken: c.GetIdentityToken(), RegistryToken: c.GetRegistryToken()}
}

func layerToProto(p LayerProgress) *droverv1.LayerProgress {
	return &droverv1.LayerProgress{Layer: p.Layer, Here: p.Here, BytesDone: p.BytesDone, BytesTotal: p.BytesTotal}
}

func layerFromProto(p *droverv1.LayerProgress) LayerProgress {
	return LayerProgress{Layer: p.GetLayer(), Here: p.GetHere(), BytesDone: p.GetBytesDone(), BytesTotal: p.GetBytesTotal()}
}
