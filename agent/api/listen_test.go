package api_test

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

func TestListenUnixMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	ln, err := api.ListenUnix(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.ModeSocket|0o660, info.Mode())
	require.NoError(t, ln.Close())
	_, err = os.Stat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestListenUnixReplacesOnlyTheDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	first, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	_, err = api.ListenUnix(path)
	require.ErrorContains(t, err, "another agent answers there")

	first.SetUnlinkOnClose(false) // as after kill -9
	require.NoError(t, first.Close())
	ln, err := api.ListenUnix(path)
	require.NoError(t, err)
	require.NoError(t, ln.Close())

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = api.ListenUnix(path)
	require.ErrorContains(t, err, "not a socket")
	_, err = api.ListenUnix(filepath.Join(t.TempDir(), "none", "agent.sock"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = api.ListenUnix(filepath.Join(t.TempDir(), strings.Repeat("s", 120)))
	require.Error(t, err)
}

func TestListenUnixRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	var won atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if ln, err := api.ListenUnix(path); err == nil {
				won.Add(1)
				t.Cleanup(func() { _ = ln.Close() })
			}
		})
	}
	all.Wait()
	assert.Equal(t, int32(1), won.Load())
	conn, err := net.Dial("unix", path)
	require.NoError(t, err, "the winner's socket is there")
	require.NoError(t, conn.Close())
}

func TestServeEndsRequests(t *testing.T) {
	ln, err := api.ListenUnix(filepath.Join(t.TempDir(), "agent.sock"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	})
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, ln, handler, slog.New(slog.DiscardHandler)) }()
	client := api.NewClient(ln.Addr().String())
	go func() { _, _ = client.GetStatus(context.WithoutCancel(ctx)) }()
	<-begun
	cancel()
	<-ended
	select {
	case err := <-served:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("Serve does not return")
	}
	client.Close()
}

func TestServeFails(t *testing.T) {
	ln, err := api.ListenUnix(filepath.Join(t.TempDir(), "agent.sock"))
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	err = api.Serve(t.Context(), ln, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, net.ErrClosed)
}
