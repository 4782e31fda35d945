// Package registry reads images from registries (https://github.com/opencontainers/distribution-spec, version 1.1): the
// manifest that a name stands for, and layers, which it goes on reading where a connection broke. What it fetches is
// verified by package oci.
package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

// Options say how a registry is to be asked.
type Options struct {
	Credentials Credentials
	Insecure    bool // plain HTTP will do, and a certificate that nobody vouches for
}

// A Remote is what a name stands for at its registry.
type Remote struct {
	name       oci.Name
	options    Options
	repository name.Repository
	client     *http.Client
	base       *base
	retry      retry
}

// Open connects to the registry of a name, with what it asks for to let one in. The caller closes the Remote. Errors of
// this package are of type *[Error].
func Open(ctx context.Context, n oci.Name, o Options) (*Remote, error) {
	var options []name.Option
	if o.Insecure {
		options = append(options, name.Insecure)
	}
	repository, err := name.NewRepository(n.Registry+"/"+n.Repository, options...)
	if err != nil {
		return nil, err
	}
	base := newTransport(o.Insecure)
	login := authn.FromConfig(authn.AuthConfig(o.Credentials))
	authenticated, err := transport.NewWithContext(ctx, repository.Registry, login, base, []string{repository.Scope(transport.PullScope)})
	if err != nil {
		base.close()
		return nil, explain(n, o, err)
	}
	return &Remote{name: n, options: o, repository: repository, client: &http.Client{Transport: authenticated}, base: base, retry: patient}, nil
}

// Close gives the connections back.
func (r *Remote) Close() { r.base.close() }

// Digest asks what the name stands for, without fetching it; registries that count pulls don't count this.
func (r *Remote) Digest(ctx context.Context) (state.Digest, error) {
	resp, err := r.ask(ctx, http.MethodHead, r.reference(), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	digest := state.Digest(resp.Header.Get("Docker-Content-Digest"))
	return digest, digest.Validate()
}

// Image finds the image for a platform. Its layers are fetched when they are opened, as long as the Remote is open.
func (r *Remote) Image(ctx context.Context, platform v1.Platform) (*oci.Image, error) {
	root, err := r.root(ctx)
	if err != nil {
		return nil, err
	}
	image, err := oci.Resolve(ctx, &source{Remote: r, root: root}, root.descriptor, platform)
	if err != nil {
		return nil, err
	}
	image.Names = []oci.Name{r.name}
	return image, nil
}

// root is the index or the manifest that the name stands for.
type root struct {
	descriptor v1.Descriptor
	content    []byte
}

// maxManifest bounds an index or a manifest, in bytes.
const maxManifest = 4 << 20

func (r *Remote) root(ctx context.Context) (root, error) {
	resp, err := r.ask(ctx, http.MethodGet, r.reference(), nil)
	if err != nil {
		return root{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return root{}, explain(r.name, r.options, fmt.Errorf("reading its manifest: %w", err))
	}
	if len(content) > maxManifest {
		return root{}, fmt.Errorf("%w: its manifest has more than %d bytes", oci.ErrInvalid, maxManifest)
	}
	digest := oci.DigestOf(content)
	if r.name.Digest != "" && digest != r.name.Digest {
		return root{}, fmt.Errorf("%w: the registry answers with a manifest of the digest %s", oci.ErrInvalid, digest)
	}
	hash, err := v1.NewHash(string(digest))
	if err != nil {
		return root{}, err
	}
	// Parameters such as a charset are no part of the type.
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return root{}, fmt.Errorf("%w: its manifest is of type %.100q", oci.ErrInvalid, resp.Header.Get("Content-Type"))
	}
	return root{v1.Descriptor{MediaType: types.MediaType(mediaType), Size: int64(len(content)), Digest: hash}, content}, nil
}

// reference is the name as a manifest is asked for.
func (r *Remote) reference() string {
	if r.name.Digest != "" {
		return "manifests/" + string(r.name.Digest)
	}
	return "manifests/" + r.name.Tag
}

// accept is what a manifest may be. Schema 1 is named to be refused with a reason.
var accept = strings.Join([]string{
	string(types.OCIImageIndex), string(types.OCIManifestSchema1), string(types.DockerManifestList), string(types.DockerManifestSchema2),
	string(types.DockerManifestSchema1Signed), string(types.DockerManifestSchema1),
}, ", ")

// ask makes a request of the repository and returns its answer if that is as it should be.
func (r *Remote) ask(ctx context.Context, method, what string, header http.Header) (*http.Response, error) {
	// The scheme is that of the registry's answer to the first request.
	url := fmt.Sprintf("https://%s/v2/%s/%s", r.repository.RegistryStr(), r.repository.RepositoryStr(), what)
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		req.Header[key] = values
	}
	if strings.HasPrefix(what, "manifests/") {
		req.Header.Set("Accept", accept)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, explain(r.name, r.options, err)
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		resp.Body.Close()
		return nil, explain(r.name, r.options, err)
	}
	return resp, nil
}

// source has the parts of the image.
type source struct {
	*Remote
	root root
}

var _ oci.Source = (*source)(nil)

// Manifest implements [oci.Source].
func (s *source) Manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest == s.root.descriptor.Digest {
		return io.NopCloser(bytes.NewReader(s.root.content)), nil
	}
	resp, err := s.ask(ctx, http.MethodGet, "manifests/"+d.Digest.String(), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
