package agent

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/transport/wire"
)

// The target's agent starts again while it is asked: the question is put to the new one.
func TestPreflightAsksAnAgentThatHasStartedAgain(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, transport.InitMesh(dir, "test", []string{"ams", "fra"}))
	fra := netip.MustParseAddrPort("127.0.0.1:0")
	listen := func(node string, addr netip.AddrPort) *transport.Transport {
		id, err := transport.LoadIdentity(filepath.Join(dir, node))
		require.NoError(t, err)
		tr, err := transport.Listen(transport.Config{
			Addr: addr, Identity: id, Log: slog.New(slog.DiscardHandler),
			Resolve: func(string) (netip.AddrPort, error) { return fra, nil },
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = tr.Close() })
		return tr
	}
	before := listen("fra", fra)
	fra = before.Addr()
	first := before.Listener(transport.Move)

	welcome := func(l net.Listener) error {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := wire.ReadMessage(conn, maxCall); err != nil {
			return err
		}
		return wire.WriteMessage(conn, frameAnswer, answer{Offer: &migrate.Offer{Note: "welcome"}})
	}
	served := make(chan error, 1)
	go func() {
		err := welcome(first)
		if _, asked := first.Accept(); err == nil {
			err = asked
		}
		_ = before.Close()
		after := listen("fra", fra).Listener(transport.Move)
		served <- errors.Join(err, welcome(after))
	}()
	p := peer{node: "fra", transport: listen("ams", netip.MustParseAddrPort("127.0.0.1:0"))}
	for range 2 {
		offer, err := p.Preflight(t.Context(), migrate.Plan{ID: "m1", Pod: state.Pod{Name: "redis"}}, migrate.Facts{})
		require.NoError(t, err)
		require.Equal(t, "welcome", offer.Note)
	}
	require.NoError(t, <-served)
}
