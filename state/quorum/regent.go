package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/drover-mesh/drover/state"
)

// A regent is what a server does about leases while it leads: it commits its reign, grants leases to nodes that ask, and gives up
// those that haven't for too long. See state.Grants.
type regent struct {
	*seat
	witness *witness
	lease   time.Duration

	failing sync.Mutex // one failover at a time
	mu      sync.Mutex
	grants  state.Grants
	term    uint64 // of Raft, in which this server leads and reigns; 0 if it doesn't
}

// renewal is the question of a node that wants a lease.
type renewal struct {
	Node string `json:"node"`
	// At is where its View is.
	At position `json:"at"`
}

// grant is the leader's answer to a node that asks for a lease.
type grant struct {
	Term     uint64        `json:"term"`
	Index    uint64        `json:"index"`
	Duration time.Duration `json:"duration"`
}

// run makes this server's reign the latest whenever it leads.
func (r *regent) run() {
	changed := r.machine.board.watch(r.ctx)
	tick := time.NewTicker(r.timing.heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-changed:
		case <-tick.C:
		case <-r.ctx.Done():
			return
		}
		switch term, leads := r.raft.CurrentTerm(), r.leads(); {
		case !leads:
			r.end()
		case !r.reigns(term):
			r.end()
			if err := r.begin(term); err != nil && r.ctx.Err() == nil {
				r.log.Warn("beginning a reign", "error", err)
			}
		default:
			r.settle()
		}
	}
}

func (r *regent) reigns(term uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.term == term
}

func (r *regent) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.term = 0
	r.grants.End()
}

// begin commits this server's reign. Raft's term is the one in which it leads.
func (r *regent) begin(term uint64) error {
	elected := time.Now() // or before
	// All that was committed before is applied with it. If there was a greater term in that, it is tried again with the next.
	reign := state.Reign{Server: r.node, Term: max(term, r.machine.view().Reign().Term+1), Lease: r.lease}
	if err := r.commit(reign); err != nil {
		return err
	}
	longest := r.machine.view().LongestLease()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.raft.CurrentTerm() != term || !r.leads() {
		return raft.ErrLeadershipLost
	}
	r.term = term
	r.grants.Begin(reign, longest, elected)
	return nil
}

// settle says that leases which were longer than this server's are over.
func (r *regent) settle() {
	r.mu.Lock()
	settled, term := r.grants.Settled(time.Now()), r.grants.Term()
	r.mu.Unlock()
	v := r.machine.view()
	if !settled || v.Reign().Term != term || v.LongestLease() <= r.lease {
		return
	}
	if err := r.commit(state.Reign{Server: r.node, Term: term, Lease: r.lease, Settled: true}); err != nil && r.ctx.Err() == nil {
		r.log.Warn("saying that the leases of earlier leaders are over", "error", err)
	}
}

// commit has a command of this leader's committed and applied, here and by nobody else: it is never passed on to another leader.
func (r *regent) commit(c state.Command) error {
	result, err := r.apply(c)
	switch {
	case err != nil:
		return fmt.Errorf("committing %s: %w", c.Kind(), err)
	case !result.OK:
		return fmt.Errorf("committing %s: %s", c.Kind(), result.Reason)
	}
	return nil
}

// apply is commit, for which a refusal is an answer. It waits as long as the outcome is unknown and this server lives.
func (r *regent) apply(c state.Command) (state.Result, error) {
	data, err := state.Encode(newID(), c)
	if err != nil {
		return state.Result{}, notProposed(err)
	}
	future := r.raft.Apply(data, r.timing.rpc)
	if err := r.await(r.ctx, future); err != nil {
		return state.Result{}, err
	}
	return future.Response().(applied).result, nil
}

// grant grants a lease to a node. It answers when it has made sure that this server led after the request had come: a later leader
// that waits for as long as a lease lasts, from when it was elected, waits for this one too.
//
// A node whose View is of another history gets none. After a mesh was recovered without its newest entries, what such a node
// takes for its own may be another's by now, and indexes say nothing.
func (r *regent) grant(ctx context.Context, q renewal) (*grant, error) {
	node, received := q.Node, time.Now()
	term, err := r.witness.confirm(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.machine.view()
	_, known := v.Node(node)
	_, strange := r.machine.after(q.At)
	switch e, _ := v.Enrolment(node); {
	case r.term != term || r.raft.CurrentTerm() != term:
		return nil, fmt.Errorf("%w: the reign of %s has not begun", ErrNotProposed, r.node)
	case q.At.Index > v.Index() || errors.Is(strange, errDiverged):
		return nil, fmt.Errorf("%w: what node %s has heard of the mesh is not what %s knows", ErrNotProposed, node, r.node)
	case !known || e.Removed:
		return nil, fmt.Errorf("%w: node %s is not in the mesh", ErrNotProposed, node)
	case !r.grants.Renew(node, r.grants.Term(), received):
		return nil, fmt.Errorf("%w: %s has given node %s up, and moves its pods", ErrNotProposed, r.node, node)
	}
	return &grant{Term: r.grants.Term(), Index: v.Index(), Duration: r.lease}, nil
}

// lost returns the nodes that may be given up.
func (r *regent) lost() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.grants.Late(r.machine.view().LeaseHolders(), time.Now())
}
