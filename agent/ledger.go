package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/drover-mesh/drover/agent/gossip"
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

// currentLedger can also catch up.
type currentLedger interface {
	ledger
	// Sync returns when View has all that was committed before.
	Sync(ctx context.Context) error
}

// quorumStreams lets the quorum talk over the mesh's transport, by the names of nodes.
type quorumStreams struct{ transport *transport.Transport }

func (s quorumStreams) dial(ctx context.Context, node string, k quorum.Kind) (net.Conn, error) {
	return s.transport.Dial(ctx, node, s.kind(k))
}

func (s quorumStreams) listen(k quorum.Kind) net.Listener { return s.transport.Listener(s.kind(k)) }

func (quorumStreams) kind(k quorum.Kind) transport.Kind {
	if k == quorum.Follow {
		return transport.Follow
	}
	return transport.Raft
}

// peersAlive names the other nodes that gossip takes to be alive.
func (a *agent) peersAlive() []string {
	var names []string
	for _, m := range a.gossip.Members() {
		if m.State == gossip.Alive && m.Node != a.config.Node {
			names = append(names, m.Node)
		}
	}
	return names
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
