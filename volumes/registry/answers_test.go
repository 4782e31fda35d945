package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/volumes/oci"
)

func TestBadAnswersAreRefused(t *testing.T) {
	body := func(w http.ResponseWriter, contentType, body string) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = io.WriteString(w, body)
	}
	onBlob := func(change func(b []byte) []byte) func(http.Handler, http.ResponseWriter, *http.Request) {
		return func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if !isBlob(r) {
				next.ServeHTTP(w, r)
				return
			}
			var c copier
			next.ServeHTTP(&c, r)
			body(w, "application/octet-stream", string(change(c.b)))
		}
	}
	onManifest := func(contentType, content string) func(http.Handler, http.ResponseWriter, *http.Request) {
		return func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				body(w, contentType, content)
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	const manifestType = "application/vnd.oci.image.manifest.v1+json; charset=utf-8"
	s := serve(t)
	s.push(t, "tool:1", imageFor(t, oci.Host(), 5000))
	for name, c := range map[string]struct {
		f    func(http.Handler, http.ResponseWriter, *http.Request)
		want string
	}{
		"blobs of another content": {onBlob(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), "has the digest"},
		"blobs that are cut":       {onBlob(func(b []byte) []byte { return b[:len(b)-1] }), "ends after"},
		"blobs that are too long":  {onBlob(func(b []byte) []byte { return append(b, ' ') }), "is longer than"},
		"a web page":               {onManifest("text/html", "<html>"), "neither an image nor an index"},
		"no type":                  {onManifest(";", "{}"), "its manifest is of type"},
		"a huge manifest":          {onManifest(manifestType, strings.Repeat(" ", 5<<20)), "its manifest has more than"},
		"an empty manifest":        {onManifest(manifestType, "{}"), "of schema version 0"},
		"nothing":                  {onManifest(manifestType, ""), "its manifest can't be read"},
		"schema 1":                 {onManifest("application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`), "Docker's schema 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s.intercept(c.f)
			store := newStore(t)
			image, err := open(t, s.name(t, "tool:1"), insecure).Image(t.Context(), oci.Host())
			if err == nil {
				_, err = store.Add(t.Context(), []*oci.Image{image}, nil)
			}
			require.ErrorIs(t, err, oci.ErrInvalid)
			require.ErrorContains(t, err, c.want)
			images, err := store.Images()
			require.NoError(t, err)
			require.Empty(t, images)
		})
	}
	s.intercept(onManifest(manifestType, "{}"))
	other := sha256.Sum256(nil)
	_, err := open(t, s.name(t, "tool@sha256:"+hex.EncodeToString(other[:])), insecure).Image(t.Context(), oci.Host())
	require.ErrorContains(t, err, "the registry answers with a manifest of the digest sha256:")
}

// copier keeps the body of an answer.
type copier struct {
	b      []byte
	header http.Header
}

func (c *copier) Header() http.Header {
	if c.header == nil {
		c.header = http.Header{}
	}
	return c.header
}
func (c *copier) WriteHeader(int) {}
func (c *copier) Write(b []byte) (int, error) {
	c.b = append(c.b, b...)
	return len(b), nil
}

func TestAnErrorInTheMiddleIsTold(t *testing.T) {
	s := serve(t)
	s.push(t, "tool:1", imageFor(t, oci.Host(), 300_000))
	r := open(t, s.name(t, "tool:1"), insecure)
	image, err := r.Image(t.Context(), oci.Host())
	require.NoError(t, err)
	for status, want := range map[int]error{http.StatusForbidden: ErrDenied, http.StatusNotFound: ErrNotFound, http.StatusBadGateway: ErrUnreachable} {
		s.intercept(func(_ http.Handler, w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", status) })
		store := newStore(t)
		_, err = store.Add(t.Context(), []*oci.Image{image}, nil)
		require.ErrorIs(t, err, want)
		known := (*Error)(nil)
		require.True(t, errors.As(err, &known))
		require.False(t, store.Has(state.Digest(image.Layers[0].Digest)))
	}
}
