//go:build root

package host

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/workload"
)

// known is what the mesh knows: pods, and the images of each node. What a refusal may not change.
func (m *mesh) known(t *testing.T) string {
	t.Helper()
	pods, err := m.clients["ams"].ListPods(t.Context(), false)
	require.NoError(t, err)
	all := []any{pods}
	for _, s := range m.Sites() {
		images, err := m.clients[s.Name].ListImages(t.Context(), "")
		require.NoError(t, err)
		all = append(all, images)
	}
	text, err := json.MarshalIndent(all, "", " ")
	require.NoError(t, err)
	return string(text)
}

// requireRefused runs a command that must fail with that exit code, say certain words and change nothing anywhere.
func (m *mesh) requireRefused(t *testing.T, site string, args []string, exit int, words ...string) {
	t.Helper()
	known, files := m.known(t), m.footprints(t)
	out, errs, code := m.drover(t, site, args...)
	require.Equal(t, exit, code, "drover %q: %s", args, errs)
	for _, w := range words {
		require.Contains(t, errs+out, w)
	}
	require.Equal(t, known, m.known(t), "nothing has changed")
	m.requireFootprints(t, files)
}

// file puts a file into a site and returns its path there.
func (m *mesh) file(t *testing.T, site, name string, content []byte) string {
	t.Helper()
	path, err := m.Path(site, "/run/"+name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	t.Cleanup(func() { _ = os.Remove(path) })
	return "/run/" + name
}

func TestManifestsAreRefused(t *testing.T) {
	m := begin(t)
	unknown := m.file(t, "ams", "unknown.yaml", bytes.Replace(workload.Redis, []byte("      command:"), []byte("      comand:"), 1))
	m.requireRefused(t, "ams", []string{"pod", "run", "-f", unknown}, 2, "comand")
	probe := bytes.Replace(workload.Redis, []byte("      command:"), []byte("      livenessProbe: {grpc: {port: 6379}}\n      command:"), 1)
	m.requireRefused(t, "ams", []string{"pod", "run", "-f", m.file(t, "ams", "probe.yaml", probe)}, 2, "spec.containers[0].livenessProbe.grpc", "use exec, httpGet or tcpSocket")
	missing := bytes.Replace(workload.Redis, []byte("image: redis"), []byte("image: nowhere"), 1)
	m.requireRefused(t, "ams", []string{"pod", "run", "-f", m.file(t, "ams", "missing.yaml", missing)}, 6, "image nowhere:latest is not on ams, nor to be had", "fra does not have it", "drover image load nowhere:latest")
	m.requireRefused(t, "ams", []string{"pod", "run", "-f", m.file(t, "ams", "no.yaml", []byte("{"))}, 2)

	redis := m.file(t, "ams", "redis.yaml", workload.Redis)
	_, errs, code := m.drover(t, "ams", "pod", "run", "-f", redis)
	require.Zero(t, code, errs)
	m.requireRefused(t, "fra", []string{"pod", "run", "-f", m.file(t, "fra", "redis.yaml", workload.Redis)}, 6, "redis")
}

// layer is a tar with these entries.
func layer(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := []byte("out")
		if h.Typeflag != tar.TypeReg {
			content = nil
		}
		h.Mode, h.Size = 0o755, int64(len(content))
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// A layer's entries stay inside its root, or the layer is refused.
func TestLayersThatReachOutAreRefused(t *testing.T) {
	m := begin(t)
	for name, tarball := range map[string][]byte{
		"dots.tar":    layer(t, tar.Header{Name: "../../../../../../run/out", Typeflag: tar.TypeReg}),
		"deeper.tar":  layer(t, tar.Header{Name: "a/", Typeflag: tar.TypeDir}, tar.Header{Name: "a/../../../../../run/out", Typeflag: tar.TypeReg}),
		"symlink.tar": layer(t, tar.Header{Name: "a", Linkname: "/run", Typeflag: tar.TypeSymlink}, tar.Header{Name: "a/out", Typeflag: tar.TypeReg}),
		"up.tar":      layer(t, tar.Header{Name: "a", Linkname: "../../../../../../run", Typeflag: tar.TypeSymlink}, tar.Header{Name: "a/out", Typeflag: tar.TypeReg}),
		"hard.tar":    layer(t, tar.Header{Name: "a", Linkname: "../../../../../../etc/passwd", Typeflag: tar.TypeLink}),
	} {
		path := m.file(t, "ams", name, tarball)
		m.requireRefused(t, "ams", []string{"image", "load", "evil", path}, 2, "nothing was kept of it")
		out, err := m.Path("ams", "/run/out")
		require.NoError(t, err)
		require.NoFileExists(t, out)
		require.NoFileExists(t, "/run/out")
	}
	truncated := layer(t, tar.Header{Name: "a", Typeflag: tar.TypeReg})[:700]
	m.requireRefused(t, "ams", []string{"image", "load", "evil", m.file(t, "ams", "cut.tar", truncated)}, 2)
	require.NoFileExists(t, filepath.Join("/run", "out"))
}

// Moves that can't be are refused before anything changes.
func TestMovesAreRefused(t *testing.T) {
	m := begin(t)
	m.requireRefused(t, "ams", []string{"migrate", "redis", "--to", "fra"}, 3, "redis")
	_, counter := m.redis(t, "ams", 1<<20)
	m.requireRefused(t, "ams", []string{"migrate", "redis", "--to", "oslo"}, 3, "there is no node or site oslo")
	m.requireRefused(t, "fra", []string{"migrate", "redis", "--to", "ams"}, 6, "it is there already")
	m.requireRefused(t, "ams", []string{"migrate", "redis"}, 2, "to")
	m.requireMovesOn(t, counter, "nyc")
}

// Of two moves of one pod at once one wins, and the other is told.
func TestTwoMovesAtOnce(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", 1<<20)
	targets := []string{"fra", "nyc"}
	errs := make([]error, len(targets))
	var both sync.WaitGroup
	for i, to := range targets {
		both.Go(func() { _, errs[i] = m.migrate(t.Context(), t, "ams", "redis", to) })
	}
	both.Wait()
	winner := 0
	if errs[0] != nil {
		winner = 1
	}
	require.NoError(t, errs[winner])
	loser := api.AsError(errs[1-winner])
	require.Equal(t, api.FailedPrecondition, loser.Code)
	require.Contains(t, loser.Error(), "being started, moved or removed")
	require.Equal(t, targets[winner], m.awaitSettled(t, "redis").Node)
	m.requireMovesOn(t, counter, "ams")
}

// The target has no memory left for the images: at first so little that it says so beforehand, then none in the middle.
func TestFullTarget(t *testing.T) {
	m := begin(t)
	pod, counter := m.redis(t, "ams", struckFill)
	m.inSite(t, "fra", "mount -o remount,size=48m /run")
	t.Cleanup(func() { m.inSite(t, "fra", "rm -f /run/ballast; mount -o remount,size=50% /run") })
	m.requireRefused(t, "ams", []string{"migrate", "redis", "--to", "fra"}, 6, "MiB free in /run/drover", "nothing was changed")

	m.inSite(t, "fra", "mount -o remount,size=50% /run")
	_, err := m.migrate(t.Context(), t, "ams", "redis", "fra", on("freeze", api.StepStarted, func() {
		m.inSite(t, "fra", "mount -o remount,size=48m /run; cat /dev/zero > /run/ballast || true")
	}))
	require.Equal(t, api.Aborted, api.AsError(err).Code, "%v", err)
	require.ErrorContains(t, err, "MiB are left for /run/drover/moves")
	t.Logf("the caller hears: %v", err)
	m.inSite(t, "fra", "rm /run/ballast; mount -o remount,size=50% /run")
	now := m.awaitSettled(t, "redis")
	assert.Equal(t, "ams", now.Node)
	assert.Equal(t, pod.Containers[0].PID, now.Containers[0].PID)
	m.requireMovesOn(t, counter, "fra")
}

// restart restarts a site's agent in order, and waits until the mesh is whole.
func (m *mesh) restart(t *testing.T, site string, between func()) {
	t.Helper()
	require.NoError(t, m.KeepAgent(t.Context(), site, false))
	require.NoError(t, m.SignalAgent(t.Context(), site, 15))
	eventually(t, "the agent has ended", func() error {
		status, err := m.Agent(t.Context(), site)
		if err == nil && status.Running {
			err = fmt.Errorf("it runs as %d", status.PID)
		}
		return err
	})
	between()
	require.NoError(t, m.KeepAgent(t.Context(), site, true))
	m.awaitWhole(t)
}

// The target has a full disk: the image that the pod needs does not fit.
func TestFullDiskAtTheTarget(t *testing.T) {
	m := begin(t)
	require.NoError(t, m.load(t.Context(), "ams", "nginx", m.images["nginx"]))
	pod := m.run(t, "ams", []byte(ticking))
	m.restart(t, "nyc", func() { m.inSite(t, "nyc", "mount -t tmpfs -o size=16m tmpfs /var/lib/drover/volumes") })
	_, errs, code := m.drover(t, "ams", "migrate", "ticking", "--to", "nyc")
	t.Log(errs)
	assert.Contains(t, []int{5, 6}, code)
	assert.Contains(t, errs, "space")
	now := m.awaitSettled(t, "ticking")
	assert.Equal(t, "ams", now.Node)
	assert.Equal(t, pod.Containers[0].PID, now.Containers[0].PID)
	m.restart(t, "nyc", func() { m.inSite(t, "nyc", "umount /var/lib/drover/volumes") })
	_, err := m.migrate(t.Context(), t, "ams", "ticking", "nyc")
	require.NoError(t, err, "with space again")
	require.Equal(t, "nyc", m.awaitSettled(t, "ticking").Node)
}

// The target's CRIU is older than the one that would write the images.
func TestOlderCRIUAtTheTarget(t *testing.T) {
	m := begin(t)
	_, counter := m.redis(t, "ams", 1<<20)
	m.restart(t, "fra", func() {
		m.wrapCRIU(t, "fra", `case "$*" in *--version*) echo "Version: 4.1"; exit;; esac`)
	})
	m.requireRefused(t, "ams", []string{"migrate", "redis", "--to", "fra"}, 6, "4.1.0", "fra", "nothing was changed")
	m.restart(t, "fra", func() { m.unwrapCRIU(t, "fra") })
	m.requireMovesOn(t, counter, "fra")
}
