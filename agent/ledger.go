package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/raft"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/state/quorum"
	"github.com/drover-mesh/drover/transport"
)

// ledger is the committed state, as this package uses it.
type ledger interface {
	Propose(ctx context.Context, c state.Command) (state.Result, error)
	View() state.View
	Watch(ctx context.Context) <-chan struct{}
}

// raftStreams lets Raft talk over the mesh's transport, by the names of nodes.
type raftStreams struct {
	net.Listener
	transport *transport.Transport
}

var _ raft.StreamLayer = raftStreams{}

// Dial implements [raft.StreamLayer].
func (s raftStreams) Dial(node raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.transport.Dial(ctx, string(node), transport.Raft)
}

const (
	// forwardPath is where a node takes what another hands on for the quorum.
	forwardPath = "/quorum"
	// maxForward bounds it: a command holds at most a manifest, of 1 MiB.
	maxForward = 4 << 20
)

// forwarder hands requests of the quorum to other nodes.
type forwarder struct{ peers *http.Client }

func (f forwarder) forward(ctx context.Context, node string, data []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+node+forwardPath, bytes.NewReader(data))
	if err != nil {
		return nil, errors.Join(quorum.ErrNotProposed, err)
	}
	resp, err := f.peers.Do(req)
	if errors.Is(err, transport.ErrUnreachable) {
		return nil, errors.Join(quorum.ErrNotProposed, err)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxForward))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	return answer, nil
}

// serveForwards answers what forward sends.
func serveForwards(q *quorum.Quorum) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForward))
		if err == nil {
			data, err = q.HandleForward(r.Context(), data)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(data) // who asked has gone: it will ask again
	}
}
