// Package apitest has a backend of the control API that answers from memory, for tests of what asks or serves it.
package apitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/drover-mesh/drover/agent/api"
)

// Backend is an api.Backend of the node called Node. Set its fields before it is used.
type Backend struct {
	Node       string
	Pods       []api.Pod
	Nodes      []api.Node
	Images     []api.Image
	Migrations []api.Migration
	Volumes    []api.Volume
	Tokens     []api.Token
	Status     api.Status
	Err        error // if set, every method fails with it

	NodeDetails []api.NodeDetails

	OnRun       func(manifest []byte, node string) (api.Pod, error)
	OnLogs      func(ctx context.Context, o api.LogOptions, w api.LogWriter) error
	OnExec      func(ctx context.Context, e api.Exec) (int, error)
	Files       map[string][]byte // tars by path: what CopyFrom gives and CopyTo has got
	OnMigrate   func(ctx context.Context, pod, to string, progress api.Progress) (api.Report, error)
	OnPreflight func(pod, to string) (api.Preflight, error)
	OnCancel    func(name string) (api.Migration, error)

	OnRemoveNode  func(name string, o api.RemoveNodeOptions) (api.Removal, error)
	OnDrain       func(ctx context.Context, node string, o api.DrainOptions, progress api.DrainProgress) (api.DrainReport, error)
	OnCancelDrain func(node string) error
	OnExplain     func(pod string, manifest []byte, to string) (api.Explanation, error)

	mu    sync.Mutex
	calls []string
}

var _ api.Backend = (*Backend)(nil)

// Calls returns what this node was asked to do itself, such as "remove redis".
func (b *Backend) Calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.calls...)
}

func (b *Backend) call(what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, what)
	return b.Err
}

// PlacePod returns node, or the backend's own.
func (b *Backend) PlacePod(_ context.Context, _ []byte, node string) (string, error) {
	if node == "" {
		node = b.Node
	}
	return node, b.Err
}

// RunPod answers by OnRun.
func (b *Backend) RunPod(_ context.Context, manifest []byte, node string) (api.Pod, error) {
	if err := b.call("run"); err != nil {
		return api.Pod{}, err
	}
	return b.OnRun(manifest, node)
}

// ListPods answers from Pods.
func (b *Backend) ListPods(_ context.Context, local bool) ([]api.Pod, error) {
	var pods []api.Pod
	for _, p := range b.Pods {
		if !local || p.Node == b.Node {
			pods = append(pods, p)
		}
	}
	return pods, b.Err
}

// GetPod answers from Pods.
func (b *Backend) GetPod(_ context.Context, name string) (api.Pod, error) {
	for _, p := range b.Pods {
		if p.Name == name {
			return p, b.Err
		}
	}
	return api.Pod{}, errors.Join(b.Err, api.Errorf(api.NotFound, "", "there is no pod %q", name).WithCure("drover pod ls shows the pods"))
}

// PodLogs answers by OnLogs.
func (b *Backend) PodLogs(ctx context.Context, name string, o api.LogOptions, w api.LogWriter) error {
	if err := b.call("logs " + name); err != nil {
		return err
	}
	return b.OnLogs(ctx, o, w)
}

// StopPod only notes the call.
func (b *Backend) StopPod(_ context.Context, name string, grace time.Duration) error {
	return b.call(fmt.Sprintf("stop %s %s", name, grace))
}

// StartPod only notes the call.
func (b *Backend) StartPod(_ context.Context, name string) error { return b.call("start " + name) }

// Exec answers by OnExec.
func (b *Backend) Exec(ctx context.Context, e api.Exec) (int, error) {
	if err := b.call("exec " + e.Pod + " " + e.Container); err != nil {
		return 0, err
	}
	return b.OnExec(ctx, e)
}

// CopyFrom answers from Files.
func (b *Backend) CopyFrom(_ context.Context, at api.Path, tar io.Writer) error {
	_, err := tar.Write(b.Files[at.Path])
	return errors.Join(err, b.call("copy from "+at.Pod))
}

// CopyTo adds to Files.
func (b *Backend) CopyTo(_ context.Context, at api.Path, tar io.Reader) error {
	data, err := io.ReadAll(tar)
	b.mu.Lock()
	b.Files[at.Path] = data
	b.mu.Unlock()
	return errors.Join(err, b.call("copy to "+at.Pod))
}

// ListVolumes answers from Volumes.
func (b *Backend) ListVolumes(context.Context) ([]api.Volume, error) { return b.Volumes, b.Err }

// RemoveVolume only notes the call.
func (b *Backend) RemoveVolume(_ context.Context, name string) error {
	return b.call("remove volume " + name)
}

// RemovePod only notes the call.
func (b *Backend) RemovePod(_ context.Context, name string) error { return b.call("remove " + name) }

// LoadImage reads the file and returns an image of its size, the digest being that of nothing.
func (b *Backend) LoadImage(_ context.Context, o api.LoadImage, r io.Reader) ([]api.Image, error) {
	if err := b.call("loading " + o.Name); err != nil {
		return nil, err
	}
	n, err := io.Copy(io.Discard, r)
	if err != nil {
		return nil, errors.Join(b.call("cut "+o.Name), err)
	}
	i := anImage(o.Name, b.Node)
	i.Size = n
	return []api.Image{i}, b.call("loaded " + o.Name)
}

func anImage(name, node string) api.Image {
	return api.Image{
		Name: name, Digest: "sha256:0123456789abcdef", Layers: []string{"sha256:0123456789abcdef"}, Platform: "linux/amd64",
		Created: Created, Tagged: Created, Node: node,
	}
}

// ListImages answers from Images.
func (b *Backend) ListImages(context.Context, string) ([]api.Image, error) { return b.Images, b.Err }

// InspectImage answers from Images, by name.
func (b *Backend) InspectImage(_ context.Context, name, _ string) (api.Image, error) {
	for _, i := range b.Images {
		if i.Name == name {
			return i, b.Err
		}
	}
	return api.Image{}, errors.Join(b.Err, api.Errorf(api.NotFound, "", "there is no image %q", name))
}

// TagImage returns the image under its new name.
func (b *Backend) TagImage(ctx context.Context, name, tag, node string) (api.Image, error) {
	i, err := b.InspectImage(ctx, name, node)
	i.Name = tag
	return i, err
}

// RemoveImage only notes the call.
func (b *Backend) RemoveImage(_ context.Context, name, _ string) (api.RemovedImage, error) {
	return api.RemovedImage{Name: name, Freed: 40 << 20}, b.call("remove image " + name)
}

// PullImage tells of two layers, one of which had been there, and returns an image.
func (b *Backend) PullImage(_ context.Context, o api.PullImage, progress func(api.LayerProgress)) (api.Image, error) {
	if err := b.call("pull " + o.Reference); err != nil {
		return api.Image{}, err
	}
	for _, p := range []api.LayerProgress{
		{Layer: "sha256:00112233445566778899", Here: true, BytesTotal: 30 << 20},
		{Layer: "sha256:aabbccddeeff00112233", BytesTotal: 12 << 20},
		{Layer: "sha256:aabbccddeeff00112233", BytesDone: 6 << 20, BytesTotal: 12 << 20},
		{Layer: "sha256:aabbccddeeff00112233", Here: true, BytesDone: 12 << 20, BytesTotal: 12 << 20},
	} {
		progress(p)
	}
	i := anImage(o.Reference, b.Node)
	i.Size = 42 << 20
	return i, nil
}

// GetStatus answers from Status.
func (b *Backend) GetStatus(context.Context) (api.Status, error) { return b.Status, b.Err }

// Migrate answers by OnMigrate.
func (b *Backend) Migrate(ctx context.Context, pod, to string, progress api.Progress) (api.Report, error) {
	if err := b.call("migrate " + pod); err != nil {
		return api.Report{}, err
	}
	return b.OnMigrate(ctx, pod, to, progress)
}

// Preflight answers by OnPreflight.
func (b *Backend) Preflight(_ context.Context, pod, to string) (api.Preflight, error) {
	if err := b.call("preflight " + pod); err != nil {
		return api.Preflight{}, err
	}
	return b.OnPreflight(pod, to)
}

// CancelMigration answers by OnCancel.
func (b *Backend) CancelMigration(_ context.Context, name string) (api.Migration, error) {
	if err := b.call("cancel " + name); err != nil {
		return api.Migration{}, err
	}
	return b.OnCancel(name)
}

// ListMigrations answers from Migrations.
func (b *Backend) ListMigrations(context.Context) ([]api.Migration, error) {
	return b.Migrations, b.Err
}

// GetMigration answers from Migrations.
func (b *Backend) GetMigration(_ context.Context, id string) (api.Migration, error) {
	for _, m := range b.Migrations {
		if m.ID == id {
			return m, b.Err
		}
	}
	return api.Migration{}, errors.Join(b.Err, api.Errorf(api.NotFound, "", "there is no migration %q", id))
}

// Created is a time for things that tests make.
var Created = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Serve serves a backend on a unix socket until the test ends, and returns its path. peers may be nil.
func Serve(t testing.TB, b *Backend, peers *http.Client) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent.sock")
	ln, err := api.ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	handler := api.NewHandler(b, api.HandlerConfig{Node: b.Node, Peers: peers, Log: log})
	go func() { served <- api.Serve(ctx, ln, handler, log) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return socket
}
