package registry

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/volumes"
	"github.com/drover-mesh/drover/volumes/oci"
)

var insecure = Options{Insecure: true}

func open(t *testing.T, n oci.Name, o Options) *Remote {
	t.Helper()
	r, err := Open(t.Context(), n, o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	r.retry.wait = time.Millisecond
	return r
}

func newStore(t *testing.T) *volumes.Store {
	store, err := volumes.OpenStore(t.TempDir())
	require.NoError(t, err)
	return store
}

func TestAnImageIsPulledOnce(t *testing.T) {
	s, store := serve(t), newStore(t)
	image := imageFor(t, oci.Host(), 100_000)
	s.push(t, "team/tool:1", image)
	pull := func() volumes.Image {
		r := open(t, s.name(t, "team/tool:1"), insecure)
		found, err := r.Image(t.Context(), oci.Host())
		require.NoError(t, err)
		added, err := store.Add(t.Context(), []*oci.Image{found}, nil)
		require.NoError(t, err)
		digest, err := r.Digest(t.Context())
		require.NoError(t, err)
		require.Equal(t, digest, added[0].Manifest)
		return added[0]
	}
	first := pull()
	require.Equal(t, s.host()+"/team/tool:1", first.Name)
	config, err := image.ConfigName()
	require.NoError(t, err)
	require.EqualValues(t, config.String(), first.Digest)
	require.EqualValues(t, 3, s.asked.Load(), "the configuration and two layers")
	second := pull()
	second.Created, second.Tagged = first.Created, first.Tagged // it doesn't say when it was built
	require.Equal(t, first, second)
	require.EqualValues(t, 4, s.asked.Load(), "layers that are here are not fetched")

	byDigest := s.name(t, "team/tool@"+string(first.Manifest))
	found, err := open(t, byDigest, insecure).Image(t.Context(), oci.Host())
	require.NoError(t, err)
	require.Equal(t, []oci.Name{byDigest}, found.Names)
}

func TestThePlatformIsChosenFromAnIndex(t *testing.T) {
	s := serve(t)
	index := empty.Index
	var x v1.ImageIndex = index
	for _, p := range []v1.Platform{{OS: "linux", Architecture: "arm", Variant: "v6"}, {OS: "linux", Architecture: "arm", Variant: "v7"}, {OS: "linux", Architecture: "arm64"}, {OS: "windows", Architecture: "amd64"}} {
		x = mutate.AppendManifests(x, mutate.IndexAddendum{Add: imageFor(t, p, 10), Descriptor: v1.Descriptor{Platform: &p}})
	}
	s.push(t, "tool:1", x)
	for want, got := range map[string]string{"linux/arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/arm/v7": "linux/arm/v7", "linux/arm": "linux/arm/v6"} {
		p, err := oci.ParsePlatform(want)
		require.NoError(t, err)
		image, err := open(t, s.name(t, "tool:1"), insecure).Image(t.Context(), p)
		require.NoError(t, err, want)
		require.Equal(t, got, image.Config.Platform.String(), want)
	}
	_, err := open(t, s.name(t, "tool:1"), insecure).Image(t.Context(), v1.Platform{OS: "linux", Architecture: "riscv64"})
	require.EqualError(t, err, "there is no image for linux/riscv64, only for linux/arm/v6, linux/arm/v7, linux/arm64, windows/amd64")
}

func TestARegistryIsTrustedOnlyWithACertificate(t *testing.T) {
	plain, tls := serve(t), newServer(t)
	tls.StartTLS()
	for name, s := range map[string]*server{"plain": plain, "self-signed": tls} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			s.intercept(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				next.ServeHTTP(w, r)
			})
			_, err := Open(t.Context(), s.name(t, "tool:1"), Options{})
			require.ErrorIs(t, err, ErrUntrusted)
			require.Zero(t, asked.Load(), "not a byte in the clear, nor to a stranger")
			_, err = open(t, s.name(t, "tool:1"), insecure).Image(t.Context(), oci.Host())
			require.ErrorIs(t, err, ErrNotFound)
		})
	}
}

func TestARedirectionIntoTheClearIsRefused(t *testing.T) {
	s := newServer(t)
	s.StartTLS()
	b := newTransport(false)
	b.http.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig
	defer b.close()
	s.intercept(func(_ http.Handler, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+s.host()+"/elsewhere", http.StatusTemporaryRedirect)
	})
	resp, err := (&http.Client{Transport: b}).Get(s.URL)
	if err == nil {
		resp.Body.Close()
	}
	require.ErrorIs(t, err, errPlain)
}

func TestCredentialsAreAskedFor(t *testing.T) {
	good := Credentials{Username: "ann", Password: "secret"}
	basic := func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user == "ann" && password == "secret" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
	}
	s := serve(t)
	s.push(t, "tool:1", imageFor(t, oci.Host(), 10))
	bearer := func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			if user, password, _ := r.BasicAuth(); user != "ann" || password != "secret" {
				http.Error(w, `{"errors":[{"code":"DENIED","message":"incorrect username or password"}]}`, http.StatusUnauthorized)
				return
			}
			fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, "for "+r.URL.Query().Get("scope"))
			return
		}
		if r.Header.Get("Authorization") == "Bearer for repository:tool:pull" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry"`, s.URL))
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
	}
	for name, c := range map[string]func(http.Handler, http.ResponseWriter, *http.Request){"basic": basic, "bearer": bearer} {
		t.Run(name, func(t *testing.T) {
			s.intercept(c)
			pull := func(c Credentials) error {
				r, err := Open(t.Context(), s.name(t, "tool:1"), Options{Credentials: c, Insecure: true})
				if err != nil {
					return err
				}
				defer r.Close()
				image, err := r.Image(t.Context(), oci.Host())
				if err != nil {
					return err
				}
				_, err = newStore(t).Add(t.Context(), []*oci.Image{image}, nil)
				return err
			}
			require.NoError(t, pull(good))
			require.ErrorIs(t, pull(Credentials{}), ErrDenied)
			err := pull(Credentials{Username: "ann", Password: "wrong"})
			require.ErrorIs(t, err, ErrDenied)
			require.NotContains(t, err.Error(), "wrong")
		})
	}
}

func TestARegistryThatIsNotThere(t *testing.T) {
	s := serve(t)
	n := s.name(t, "tool:1")
	s.Close()
	_, err := Open(t.Context(), n, insecure)
	require.ErrorIs(t, err, ErrUnreachable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(ctx, n, insecure)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrUnreachable)
}

// cutter passes on only so many bytes of each answer's body, and then breaks the connection.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b[:min(len(b), c.left)])
	if c.left -= n; c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func isBlob(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
}

func TestABrokenTransferGoesOnWhereItWas(t *testing.T) {
	for name, spoil := range map[string]func(r *http.Request){
		"ranges":    func(*http.Request) {},
		"no ranges": func(r *http.Request) { r.Header.Del("Range") },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.push(t, "tool:1", imageFor(t, oci.Host(), 300_000))
			var tries atomic.Int64
			s.intercept(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
				if isBlob(r) {
					w = &cutter{w, 40_000 * int(1+tries.Add(1))}
				}
				spoil(r)
				next.ServeHTTP(w, r)
			})
			image, err := open(t, s.name(t, "tool:1"), insecure).Image(t.Context(), oci.Host())
			require.NoError(t, err)
			added, err := newStore(t).Add(t.Context(), []*oci.Image{image}, nil)
			require.NoError(t, err)
			require.Len(t, added[0].Layers, 2)
			require.GreaterOrEqual(t, tries.Load(), int64(4))
		})
	}
}

func TestAConnectionThatBringsNothingIsGivenUp(t *testing.T) {
	s := serve(t)
	s.push(t, "tool:1", imageFor(t, oci.Host(), 300_000))
	var stalled atomic.Int64
	s.intercept(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if !isBlob(r) || r.Header.Get("Range") != "" {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(&staller{w, r.Context(), 1000, &stalled}, r)
	})
	r := open(t, s.name(t, "tool:1"), insecure)
	r.retry.idle = 50 * time.Millisecond
	image, err := r.Image(t.Context(), oci.Host())
	require.NoError(t, err)
	_, err = newStore(t).Add(t.Context(), []*oci.Image{image}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, stalled.Load(), "only one part is so large")
}

// staller passes on only so many bytes, and then nothing, until the other side has enough of it.
type staller struct {
	http.ResponseWriter
	ctx     context.Context
	left    int
	stalled *atomic.Int64
}

func (s *staller) Write(b []byte) (int, error) {
	n, err := s.ResponseWriter.Write(b[:min(len(b), s.left)])
	if s.left -= n; s.left > 0 || err != nil {
		return n, err
	}
	s.ResponseWriter.(http.Flusher).Flush()
	s.stalled.Add(1)
	<-s.ctx.Done()
	panic(http.ErrAbortHandler)
}
