// Package apitest has a backend of the control API that answers from memory, for tests of what asks or serves it.
package apitest

import (
	"context"
	"errors"
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
	Tokens     []api.Token
	Status     api.Status
	Err        error // if set, every method fails with it

	OnRun     func(manifest []byte, node string) (api.Pod, error)
	OnLogs    func(ctx context.Context, follow bool, w io.Writer) error
	OnMigrate func(ctx context.Context, pod, to string, progress api.Progress) (api.Report, error)
	OnCancel  func(name string) (api.Migration, error)

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
func (b *Backend) PodLogs(ctx context.Context, name string, follow bool, w io.Writer) error {
	if err := b.call("logs " + name); err != nil {
		return err
	}
	return b.OnLogs(ctx, follow, w)
}

// RemovePod only notes the call.
func (b *Backend) RemovePod(_ context.Context, name string) error { return b.call("remove " + name) }

// LoadImage reads the tar and returns an image of its size, the digest being that of nothing.
func (b *Backend) LoadImage(_ context.Context, name, _ string, tar io.Reader) (api.Image, error) {
	if err := b.call("loading " + name); err != nil {
		return api.Image{}, err
	}
	n, err := io.Copy(io.Discard, tar)
	if err != nil {
		return api.Image{}, errors.Join(b.call("cut "+name), err)
	}
	return api.Image{Name: name, Digest: "sha256:0123456789abcdef", Size: n, Created: Created, Node: b.Node}, b.call("loaded " + name)
}

// ListImages answers from Images.
func (b *Backend) ListImages(context.Context, string) ([]api.Image, error) { return b.Images, b.Err }

// GetStatus answers from Status.
func (b *Backend) GetStatus(context.Context) (api.Status, error) { return b.Status, b.Err }

// ListNodes answers from Nodes.
func (b *Backend) ListNodes(context.Context) ([]api.Node, error) { return b.Nodes, b.Err }

// Migrate answers by OnMigrate.
func (b *Backend) Migrate(ctx context.Context, pod, to string, progress api.Progress) (api.Report, error) {
	if err := b.call("migrate " + pod); err != nil {
		return api.Report{}, err
	}
	return b.OnMigrate(ctx, pod, to, progress)
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
