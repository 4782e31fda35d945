package agent

import (
	"context"
	"sync/atomic"

	"github.com/drover-mesh/drover/transport"
)

// revocations tells the transport which certificates are void. The transport is there before the state: until then
// every certificate of the mesh is good, and afterwards connections are looked at once more.
type revocations struct {
	ledger atomic.Pointer[ledger]
}

// reason is what [transport.Config] asks.
func (r *revocations) reason(node string, generation uint64) string {
	l := r.ledger.Load()
	if l == nil {
		return ""
	}
	return (*l).View().Revoked(node, generation)
}

// enforce cuts off nodes whose certificates become void, until ctx ends.
func (r *revocations) enforce(ctx context.Context, l ledger, t *transport.Transport) {
	r.ledger.Store(&l)
	for changed := l.Watch(ctx); ; {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			t.CloseRevoked()
		}
	}
}
