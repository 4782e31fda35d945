package quorum

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drover-mesh/drover/state"
)

// Propose has a command committed and returns the machine's answer to it; a refusal is an answer. It tries
// until ctx ends, by way of other servers too, always under one ID, so that the command is applied once.
//
// An error means that the outcome is unknown: the command may have been applied, or may yet be. Only if the
// error Is ErrNotProposed it surely was not and will not be.
//
// The View of a plain node has the command when Propose returns, unless ctx has ended by then. A server's may have
// it some tens of milliseconds later: see Sync and Await.
func (q *Quorum) Propose(ctx context.Context, c state.Command) (state.Result, error) {
	data, err := state.Encode(newID(), c)
	if err == nil {
		err = leadersOwn(c)
	}
	if err != nil {
		return state.Result{}, fmt.Errorf("proposing: %w", notProposed(err))
	}
	a, err := q.ask(ctx, request{Command: data})
	if err != nil {
		return state.Result{}, fmt.Errorf("proposing %s: %w", c.Kind(), err)
	}
	if q.seat.Load() == nil {
		_ = q.reached(ctx, a.Index) // what was committed is so, whether or not this node has heard of it
	}
	return *a.Result, nil
}

// Sync returns when the View of this node has all that was committed anywhere before Sync was called.
func (q *Quorum) Sync(ctx context.Context) error {
	a, err := q.ask(ctx, request{Barrier: true})
	if err == nil {
		err = q.reached(ctx, a.Index)
	}
	if err != nil {
		return fmt.Errorf("catching up with the quorum: %w", err)
	}
	return nil
}

func notProposed(why error) error { return fmt.Errorf("%w: %w", ErrNotProposed, why) }

func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program first
	return fmt.Sprintf("p-%x", id)
}

// ask has the leader serve a request, whoever that is by then, and tries again until ctx ends.
func (q *Quorum) ask(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.ctx, cancel)()
	if ctx.Err() != nil {
		return answer{}, notProposed(errors.Join(ctx.Err(), q.whyClosed()))
	}
	unknown := false
	var last error
	for patience := q.cfg.timing.rpc; ; patience *= 2 {
		a, err := q.attempt(ctx, r, patience)
		if err == nil {
			return a, nil
		}
		unknown = unknown || !errors.Is(err, ErrNotProposed)
		if last == nil || ctx.Err() == nil { // one that was cut short has less to tell than one before it
			last = err
		}
		select {
		case <-time.After(q.cfg.timing.retry):
			continue
		case <-ctx.Done():
		}
		cause := errors.Join(ctx.Err(), q.whyClosed())
		if unknown {
			// What the last attempt came to says nothing about those before it: its error is only told.
			return answer{}, fmt.Errorf("the outcome is unknown: %w: %s", cause, last.Error())
		}
		return answer{}, fmt.Errorf("%w: %w", cause, last)
	}
}

func (q *Quorum) whyClosed() error {
	if q.ctx.Err() != nil {
		return errClosed
	}
	return nil
}

// attempt tries every way to the leader once: itself, the direct link, and each other server as a relay. All may hang,
// if the leader that everybody knows is cut off; so it ends when patience does, or when this node hears of another
// leader. To ask twice is harmless, since a request is idempotent.
func (q *Quorum) attempt(ctx context.Context, r request, patience time.Duration) (answer, error) {
	ways := q.ways(r)
	if len(ways) == 0 {
		return answer{}, fmt.Errorf("no server is known: %w", ErrNotProposed)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	q.onNewLeader(ctx, cancel)
	a, ok, errs := hedge(ctx, &q.tasks, q.cfg.timing.hedge, ways, func(answer) {})
	if ok {
		return a, nil
	}
	why := errors.Join(errs...)
	switch {
	case why == nil:
		return answer{}, ctx.Err()
	case ctx.Err() != nil:
		return answer{}, fmt.Errorf("%w: %s", ctx.Err(), why.Error())
	}
	for _, err := range errs {
		if !errors.Is(err, ErrNotProposed) {
			return answer{}, errors.New(why.Error()) // not Is ErrNotProposed, though a part may be
		}
	}
	return answer{}, why
}

// onNewLeader calls f when this node hears of another leader than it knows now, unless ctx ends before.
func (q *Quorum) onNewLeader(ctx context.Context, f func()) {
	known, changed := q.Leader(), q.Watch(ctx)
	q.tasks.spawn(func() {
		for {
			select {
			case <-changed:
				if leader := q.Leader(); leader != "" && leader != known {
					f()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
}

// ways are the ways to the leader, the likeliest first.
func (q *Quorum) ways(r request) (ways []func(context.Context) (answer, error)) {
	if s := q.seat.Load(); s != nil && s.leads() {
		return append(ways, func(ctx context.Context) (answer, error) { return s.serve(ctx, r) })
	}
	st := q.Status()
	nodes := q.servers()
	if s := st.Follows; s != "" && s != st.Leader { // it would follow the leader if it could reach it
		nodes = append([]string{s}, slices.DeleteFunc(nodes, func(node string) bool { return node == s })...)
	}
	for _, node := range nodes {
		r := r
		r.Relay = node != st.Leader
		ways = append(ways, func(ctx context.Context) (answer, error) { return q.forward(ctx, node, r) })
	}
	return ways
}

// serve carries a request out on the leader.
func (s *seat) serve(ctx context.Context, r request) (answer, error) {
	switch {
	case r.Barrier:
		err := s.barrier(ctx)
		return answer{Index: s.machine.view().Index()}, err
	case r.Join != nil:
		return s.join(ctx, *r.Join)
	case r.Leave != "":
		return s.leave(ctx, r.Leave)
	case r.Renew != nil:
		g, err := s.regent.grant(ctx, *r.Renew)
		return answer{Grant: g}, err
	}
	future := s.raft.Apply(r.Command, s.timing.rpc)
	if err := s.await(ctx, future); err != nil {
		return answer{}, err
	}
	done := future.Response().(applied)
	return answer{Result: &done.result, Index: done.index}, nil
}
