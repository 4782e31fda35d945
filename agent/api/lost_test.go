package api_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/api/apitest"
)

// An agent that is killed in the middle of a move says nothing any more; its caller must hear what that means.
func TestAgentIsLostInTheMiddleOfAMove(t *testing.T) {
	agent := filepath.Join(t.TempDir(), "relay.sock")
	listener, err := net.Listen("unix", agent)
	require.NoError(t, err)
	defer listener.Close()
	behind := &apitest.Backend{Node: "ams", Pods: []api.Pod{{Name: "redis", Node: "ams"}}}
	cut := make(chan struct{})
	go relayUntil(listener, apitest.Serve(t, behind, nil), cut)
	behind.OnMigrate = func(ctx context.Context, _, _ string, p api.Progress) (api.Report, error) {
		p.Started(move)
		<-ctx.Done()
		return api.Report{}, ctx.Err()
	}
	client := api.NewClient(agent)
	defer client.Close()
	_, err = client.Migrate(t.Context(), "redis", "fra", &cutter{cut: cut})
	assert.Equal(t, api.Unavailable, codeOf(t, err))
	assert.ErrorContains(t, err, "went away before it had answered")
	assert.Contains(t, api.AsError(err).Cure, "drover pod get redis")
}

// cutter cuts the connection when the move has started.
type cutter struct {
	recorder
	cut chan struct{}
}

func (c *cutter) Started(api.Move) { close(c.cut) }

// relayUntil passes one connection on until it is cut.
func relayUntil(listener net.Listener, to string, cut <-chan struct{}) {
	front, err := listener.Accept()
	if err != nil {
		return
	}
	defer front.Close()
	back, err := net.Dial("unix", to)
	if err != nil {
		return
	}
	defer back.Close()
	go func() { _, _ = io.Copy(front, back) }()
	go func() { _, _ = io.Copy(back, front) }()
	<-cut
	front.Close() // first, or the backend's own end would still be told
}
