package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/api/apitest"
)

// mesh is two nodes that know the same pods, one each, and a client of ams. gru is known too, but off.
type mesh struct {
	ams, fra *apitest.Backend
	client   *api.Client
}

func newMesh(t *testing.T) *mesh {
	pods := []api.Pod{{Name: "web", UID: "1", Node: "ams", Phase: api.PodUnknown}, {Name: "redis", UID: "2", Node: "fra", Phase: api.PodUnknown}, {Name: "lost", UID: "3", Node: "gru", Phase: api.PodUnknown}}
	nodes := []api.Node{{Name: "ams"}, {Name: "fra"}, {Name: "gru"}}
	m := &mesh{
		ams: &apitest.Backend{Node: "ams", Pods: append([]api.Pod(nil), pods...), Nodes: nodes},
		fra: &apitest.Backend{Node: "fra", Pods: append([]api.Pod(nil), pods...), Nodes: nodes},
	}
	m.ams.Pods[0].Phase = api.PodRunning
	m.fra.Pods[1].Phase = api.PodFrozen
	sockets := make(map[string]string)
	peers := api.PeerClient(func(ctx context.Context, node string) (net.Conn, error) {
		if sockets[node] == "" {
			return nil, fmt.Errorf("%s is off", node)
		}
		var d net.Dialer
		return d.DialContext(ctx, "unix", sockets[node])
	})
	sockets["ams"] = apitest.Serve(t, m.ams, peers)
	sockets["fra"] = apitest.Serve(t, m.fra, peers)
	m.client = api.NewClient(sockets["ams"])
	t.Cleanup(m.client.Close)
	t.Cleanup(peers.CloseIdleConnections)
	return m
}

func codeOf(t *testing.T, err error) api.Code {
	t.Helper()
	var e *api.Error
	require.ErrorAs(t, err, &e)
	return e.Code
}

func TestListAsksTheOwners(t *testing.T) {
	m := newMesh(t)
	pods, err := m.client.ListPods(t.Context(), false)
	require.NoError(t, err)
	require.Len(t, pods, 3)
	assert.Equal(t, api.PodRunning, pods[0].Phase)
	assert.Equal(t, api.PodFrozen, pods[1].Phase, "as fra says")
	assert.Equal(t, api.PodUnknown, pods[2].Phase)
	assert.Equal(t, "gru does not answer", pods[2].Reason)

	pods, err = m.client.ListPods(t.Context(), true)
	require.NoError(t, err)
	require.Len(t, pods, 1)
}

func TestGetAsksTheOwner(t *testing.T) {
	m := newMesh(t)
	pod, err := m.client.GetPod(t.Context(), "redis")
	require.NoError(t, err)
	assert.Equal(t, api.PodFrozen, pod.Phase)
	pod, err = m.client.GetPod(t.Context(), "lost")
	require.NoError(t, err, "what is committed is known without gru")
	assert.Equal(t, api.PodUnknown, pod.Phase)
	assert.Contains(t, pod.Reason, "gru does not answer")
	_, err = m.client.GetPod(t.Context(), "nope")
	assert.Equal(t, api.NotFound, codeOf(t, err))
}

func TestRequestsGoToTheOwner(t *testing.T) {
	m := newMesh(t)
	m.fra.OnLogs = func(_ context.Context, _ api.LogOptions, w api.LogWriter) error {
		return w.Lines(bytes.Repeat([]byte("x"), 1<<20), apitest.Created)
	}
	m.fra.OnRun = func(manifest []byte, node string) (api.Pod, error) {
		return api.Pod{Name: string(manifest), Node: node, Manifest: []byte("{}")}, nil
	}
	require.NoError(t, m.client.RemovePod(t.Context(), "redis"))
	require.NoError(t, m.client.RemovePod(t.Context(), "web"))
	var logs bytes.Buffer
	require.NoError(t, m.client.PodLogs(t.Context(), "redis", api.LogOptions{}, api.LinesTo{W: &logs}))
	assert.Equal(t, 1<<20, logs.Len())
	pod, err := m.client.RunPod(t.Context(), []byte("new"), "fra")
	require.NoError(t, err)
	assert.Equal(t, api.Pod{Name: "new", Node: "fra", Manifest: []byte("{}"), Containers: []api.Container{}}, pod)
	images, err := m.client.LoadImage(t.Context(), api.LoadImage{Name: "redis:7", Node: "fra"}, io.LimitReader(zeros{}, 3_000_000))
	require.NoError(t, err)
	require.Len(t, images, 1)
	assert.Equal(t, int64(3_000_000), images[0].Size)
	assert.Equal(t, "fra", images[0].Node)
	var layers []api.LayerProgress
	pulled, err := m.client.PullImage(t.Context(), api.PullImage{Reference: "redis:7", Node: "fra"}, func(p api.LayerProgress) { layers = append(layers, p) })
	require.NoError(t, err)
	assert.Equal(t, "fra", pulled.Node)
	assert.Len(t, layers, 4)
	removed, err := m.client.RemoveImage(t.Context(), "redis:7", "fra")
	require.NoError(t, err)
	assert.Equal(t, api.RemovedImage{Name: "redis:7", Freed: 40 << 20}, removed)
	m.fra.Images = []api.Image{{Name: "web:1", Node: "fra", Layers: []string{"x"}, Document: []byte("{}"), Created: apitest.Created, Tagged: apitest.Created}}
	inspected, err := m.client.InspectImage(t.Context(), "web:1", "fra")
	require.NoError(t, err)
	assert.Equal(t, m.fra.Images[0], inspected)
	tagged, err := m.client.TagImage(t.Context(), "web:1", "web:2", "fra")
	require.NoError(t, err)
	assert.Equal(t, "web:2", tagged.Name)

	assert.Equal(t, []string{"remove web"}, m.ams.Calls())
	assert.Equal(t, []string{"remove redis", "logs redis", "run", "loading redis:7", "loaded redis:7", "pull redis:7", "remove image redis:7"}, m.fra.Calls())

	_, err = m.client.ListImages(t.Context(), "nyc")
	assert.Equal(t, api.NotFound, codeOf(t, err))
	err = m.client.RemovePod(t.Context(), "lost")
	assert.Equal(t, api.Unavailable, codeOf(t, err))
	assert.ErrorContains(t, err, "node gru")
}

func TestRequestsDoNotGoRoundInCircles(t *testing.T) {
	m := newMesh(t)
	m.fra.Pods[1].Node = "ams" // each thinks that the other owns redis
	err := m.client.RemovePod(t.Context(), "redis")
	assert.Equal(t, api.Unavailable, codeOf(t, err))
	assert.ErrorContains(t, err, "ams sent the request to fra")
	assert.Empty(t, m.ams.Calls())
	assert.Empty(t, m.fra.Calls())
	_, err = m.client.GetPod(t.Context(), "redis")
	require.NoError(t, err)
}

// zeros reads as zeros for ever.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestCutImageIsNotWhole(t *testing.T) {
	m := newMesh(t)
	for _, b := range []*apitest.Backend{m.ams, m.fra} {
		has := func(call string) func() bool {
			return func() bool { return slices.Contains(b.Calls(), call) }
		}
		tar := io.MultiReader(io.LimitReader(zeros{}, 1_000_000), readFunc(func([]byte) (int, error) {
			require.Eventually(t, has("loading bad"), 10*time.Second, time.Millisecond)
			return 0, errors.New("disk is gone")
		}))
		_, err := m.client.LoadImage(t.Context(), api.LoadImage{Name: "bad", Node: b.Node}, tar)
		assert.Equal(t, api.InvalidArgument, codeOf(t, err))
		assert.ErrorContains(t, err, "disk is gone")
		require.Eventually(t, has("cut bad"), 10*time.Second, time.Millisecond)
		assert.NotContains(t, b.Calls(), "loaded bad")
	}
	m.ams.Err = api.Errorf(api.InvalidArgument, "", "no")
	_, err := m.client.LoadImage(t.Context(), api.LoadImage{}, zeros{})
	assert.Equal(t, api.InvalidArgument, codeOf(t, err), "refused without reading to the end")
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestErrorsComeThrough(t *testing.T) {
	m := newMesh(t)
	want := &api.Error{
		Code: api.FailedPrecondition, What: "moving redis to nyc", Why: "the disk of nyc is full", Cure: "free 3 GiB",
		Violations: []api.Violation{{Field: "spec.x", Why: "not supported yet"}},
		Refusals: []api.Refusal{{
			Node: "fra", Container: "app", Process: "node", PID: 7, HostPID: 4711, Others: []int{8, 9}, Reason: "it uses io_uring", Cure: "switch it off",
		}},
	}
	m.fra.OnMigrate = func(context.Context, string, string, api.Progress) (api.Report, error) {
		return api.Report{}, fmt.Errorf("wrapped: %w", want)
	}
	_, err := m.client.Migrate(t.Context(), "redis", "nyc", &recorder{})
	var got *api.Error
	require.ErrorAs(t, err, &got)
	got.Err = nil
	assert.Equal(t, want, got)
	assert.Equal(t, "moving redis to nyc: the disk of nyc is full: spec.x: not supported yet: "+
		"app: node (pid 7, 4711 on fra; and 2 more): it uses io_uring", got.Error())

	m.ams.Err = errors.New("something odd")
	_, err = m.client.GetStatus(t.Context())
	assert.Equal(t, api.Internal, codeOf(t, err))
	assert.ErrorContains(t, err, "something odd")

	_, err = m.client.Migrate(t.Context(), "redis", "", &recorder{})
	assert.Equal(t, api.InvalidArgument, codeOf(t, err))
}

func TestNobodyListens(t *testing.T) {
	_, err := api.NewClient(t.TempDir() + "/none.sock").GetStatus(t.Context())
	assert.Equal(t, api.Unavailable, codeOf(t, err))
	assert.ErrorContains(t, err, "no agent listens there")
}

func TestPlainHTTPWorksToo(t *testing.T) {
	socket := apitest.Serve(t, &apitest.Backend{Node: "ams", Status: api.Status{Node: "ams"}}, nil)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	resp, err := client.Post("http://agent/drover.v1.Mesh/Status", "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), `"node":"ams"`)
	client.CloseIdleConnections()

	// A message beyond the limit is refused.
	_, err = api.NewClient(socket).RunPod(t.Context(), make([]byte, 5<<20), "")
	assert.Equal(t, api.InvalidArgument, codeOf(t, err))
}
