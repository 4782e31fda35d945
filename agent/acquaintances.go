package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/drover-mesh/drover/durable"
	"github.com/drover-mesh/drover/state"
)

// acquaintances are the gossip addresses of the mesh's nodes, kept in a file: when this node comes back, those that its
// configuration names may be long gone, or none was ever named, and the others have no reason to look for it.
type acquaintances struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	addrs []netip.AddrPort
}

// maxAcquaintances bounds the file.
const maxAcquaintances = 1 << 20 // bytes

// recallAcquaintances reads what an earlier agent kept. A file that can't be read is as good as none.
func recallAcquaintances(path string, log *slog.Logger) *acquaintances {
	a := &acquaintances{path: path, log: log}
	data, err := os.ReadFile(path)
	if err == nil && len(data) > maxAcquaintances {
		err = errors.New("it is too large")
	}
	if err == nil {
		err = json.Unmarshal(data, &a.addrs)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("forgot where the other nodes are", "file", path, "err", err)
		a.addrs = nil
	}
	return a
}

// known returns the addresses. The slice is the caller's.
func (a *acquaintances) known() []netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.addrs)
}

// keep notes the nodes of the committed state as it changes, until ctx ends.
func (a *acquaintances) keep(ctx context.Context, l ledger) {
	for changed := l.Watch(ctx); ; {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if err := a.note(l.View()); err != nil {
				a.log.Warn("noting where the other nodes are", "err", err)
			}
		}
	}
}

// note keeps the addresses of a state. One that knows no nodes is that of an agent which has heard nothing yet.
func (a *acquaintances) note(v state.View) error {
	var addrs []netip.AddrPort
	for _, n := range v.Nodes() {
		if n.Gossip.IsValid() {
			addrs = append(addrs, n.Gossip)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(addrs) == 0 || slices.Equal(addrs, a.addrs) {
		return nil
	}
	data, err := json.Marshal(addrs)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(a.path, data, 0o600); err != nil {
		return err
	}
	a.addrs = addrs
	return nil
}
