//go:build hosts

package hosts

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/workload"
)

// beat is how often the client asks: often enough to notice everything, seldom enough to leave the processor to the move.
const beat = 50 * time.Millisecond

// paced is a connection that sends in time with a ticker. Connections from a guest know no deadlines.
type paced struct {
	net.Conn
	tick *time.Ticker
}

func (p paced) Write(b []byte) (int, error) {
	<-p.tick.C
	return p.Conn.Write(b)
}

func (p paced) Close() error {
	p.tick.Stop()
	return p.Conn.Close()
}

func (paced) SetDeadline(time.Time) error      { return nil }
func (paced) SetReadDeadline(time.Time) error  { return nil }
func (paced) SetWriteDeadline(time.Time) error { return nil }

// count begins to count in the Redis at that address, over one connection from the guest.
func (g *guest) count(ctx context.Context, address string) (*workload.Counter, error) {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := g.shell.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return paced{conn, time.NewTicker(beat)}, nil
	}
	// An earlier count would be taken for increments that nobody acknowledged.
	if _, err := g.shell.run(ctx, fmt.Sprintf("exec 3<>/dev/tcp/%s; printf 'FLUSHALL\\r\\n' >&3; read -r answer <&3; [[ $answer == +OK* ]]", strings.Replace(address, ":", "/", 1))); err != nil {
		return nil, fmt.Errorf("emptying the Redis: %w", err)
	}
	counter, err := workload.NewCounter(ctx, dial, address)
	if err != nil {
		return nil, err
	}
	counter.Start()
	return counter, nil
}

// requireCounting waits for more answers over the same connection.
func requireCounting(t *testing.T, counter *workload.Counter) {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, counter.Await(limit, 20), "the client's connection")
}
