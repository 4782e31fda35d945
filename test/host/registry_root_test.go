//go:build root

package host

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/workload"
)

// One site has a registry, and pulls an image of several layers there. The others, which reach no registry, get the image
// from it: one to run a pod, another in a move.
func TestOnlyOneSiteNeedsARegistry(t *testing.T) {
	m := begin(t)
	ref, stop := m.registry(t, "fra")
	_, errs, code := m.drover(t, "fra", "image", "pull", ref)
	require.Equal(t, 6, code, "in the clear only if asked to: %s", errs)
	out, errs, code := m.drover(t, "fra", "image", "pull", "--insecure", ref)
	require.Zero(t, code, errs)
	require.Contains(t, out, ref+" is on fra")
	out, errs, code = m.drover(t, "fra", "image", "pull", "--insecure", ref)
	require.Zero(t, code, errs)
	require.NotContains(t, out, "MiB\n  ", "nothing is fetched again")
	stop()

	manifest := bytes.Replace(workload.Redis, []byte("image: redis"), []byte("image: "+ref), 1)
	begun := time.Now()
	pod := m.run(t, "ams", manifest)
	t.Logf("run with an image that another site has: %s", time.Since(begun).Round(time.Millisecond))
	require.Equal(t, "upper", m.inPod(t, "ams", pod.UID, "/etc/layer"))
	require.Equal(t, "none", m.inPod(t, "ams", pod.UID, "/etc/motd"), "the upper layer hides it")
	m.requireRefused(t, "ams", []string{"image", "rm", ref}, 6, "it is used by pod redis", "drover pod rm")
	here, there := m.image(t, "ams", ref), m.image(t, "fra", ref)
	here.Node = there.Node
	require.Equal(t, there, here)

	_, err := m.migrate(t.Context(), t, "ams", "redis", "nyc")
	require.NoError(t, err)
	m.awaitSettled(t, "redis")
	require.Equal(t, "upper", m.inPod(t, "nyc", pod.UID, "/etc/layer"))
	require.Equal(t, "none", m.inPod(t, "nyc", pod.UID, "/etc/motd"))
	report, err := m.migrate(t.Context(), t, "ams", "redis", "ams")
	require.NoError(t, err)
	require.Less(t, report.BytesSent, here.Size, "the layers are still there")
	m.awaitSettled(t, "redis")

	require.NoError(t, m.clients["ams"].RemovePod(t.Context(), "redis"))
	for _, site := range []string{"ams", "fra"} {
		_, errs, code := m.drover(t, site, "image", "rm", ref)
		require.Zero(t, code, errs)
	}
}

// registry serves an image of three layers on the loopback interface of a site, until stop is called.
func (m *mesh) registry(t *testing.T, site string) (ref string, stop func()) {
	t.Helper()
	var ln net.Listener
	require.NoError(t, m.InNetwork(site, func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}))
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	stop = func() {
		_ = server.Close()
		<-done
	}
	t.Cleanup(stop)

	image := m.layered(t)
	ref = ln.Addr().String() + "/team/redis:7"
	parsed, err := name.ParseReference(ref)
	require.NoError(t, err)
	client := &http.Transport{DialContext: m.Dialer(site)}
	defer client.CloseIdleConnections()
	require.NoError(t, remote.Write(parsed, image, remote.WithTransport(client)))
	return ref, stop
}

// layered is the Redis of the other tests below two small layers, which add and hide files.
func (m *mesh) layered(t *testing.T) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{Entrypoint: []string{"redis-server"}},
	})
	require.NoError(t, err)
	for _, open := range []func() (io.ReadCloser, error){
		func() (io.ReadCloser, error) { return os.Open(m.images["redis"]) },
		small(t, "etc/layer", "lower", "etc/motd", "hello"),
		small(t, "etc/layer", "upper", "etc/.wh.motd", ""),
	} {
		layer, err := tarball.LayerFromOpener(open, tarball.WithCompressionLevel(gzip.BestSpeed))
		require.NoError(t, err)
		image, err = mutate.AppendLayers(image, layer)
		require.NoError(t, err)
	}
	return image
}

// small is a layer of some files: names and contents.
func small(t *testing.T, files ...string) func() (io.ReadCloser, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := io.WriteString(w, files[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
}

// inPod reads a file in a pod's root file system, "none" if it isn't there.
func (m *mesh) inPod(t *testing.T, site, uid, path string) string {
	return strings.TrimSpace(m.inSite(t, site, "cat /var/lib/drover/volumes/pods/"+uid+".*/rootfs"+path+" 2>/dev/null || echo none"))
}

// image is what a site says of an image.
func (m *mesh) image(t *testing.T, site, ref string) (i api.Image) {
	out, errs, code := m.drover(t, site, "image", "inspect", ref)
	require.Zero(t, code, errs)
	require.NoError(t, json.Unmarshal([]byte(out), &i))
	return i
}
