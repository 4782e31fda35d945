package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

func TestAcquaintancesOutliveTheAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	log := slog.New(slog.DiscardHandler)
	l := &machineLedger{machine: state.New()}
	a := recallAcquaintances(path, log)
	require.Empty(t, a.known())
	ctx, stop := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	keeping.Go(func() { a.keep(ctx, l) })
	addr := netip.MustParseAddrPort("10.77.1.1:7946")
	_, err := l.Propose(ctx, state.RegisterNode{Node: state.Node{Name: "ams", Site: "ams", Gossip: addr}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(a.known()) == 1 }, 5*time.Second, time.Millisecond)
	stop()
	keeping.Wait()

	again := recallAcquaintances(path, log)
	require.Equal(t, []netip.AddrPort{addr}, again.known())
	require.NoError(t, again.note(state.View{})) // an agent that has just started
	require.Equal(t, []netip.AddrPort{addr}, again.known())
}

func TestAcquaintancesThatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	for _, text := range []string{"", "{", "[1]", `["10.77.1.1"]`, `["10.77.1.1:7946", "x"]`, strings.Repeat(" ", maxAcquaintances+1)} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		log := &lines{}
		require.Empty(t, recallAcquaintances(path, slog.New(slog.NewTextHandler(log, nil))).known())
		require.Contains(t, log.String(), "forgot where the other nodes are")
	}
}
