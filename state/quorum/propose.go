package quorum

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/drover-mesh/drover/state"
)

// Propose has a command committed and returns the machine's answer to it; a refusal is an answer. It tries
// until ctx ends, by way of other servers too, always under one ID, so that the command is applied once.
//
// An error means that the outcome is unknown: the command may have been applied, or may yet be. Only if the
// error Is ErrNotProposed it surely was not and will not be.
//
// The answer is the leader's. This node's own View has it some tens of milliseconds later: see Sync and
// Await.
func (q *Quorum) Propose(ctx context.Context, c state.Command) (state.Result, error) {
	data, err := state.Encode(newID(), c)
	if err != nil {
		return state.Result{}, fmt.Errorf("proposing: %w: %w", ErrNotProposed, err)
	}
	a, err := q.ask(ctx, request{Command: data})
	if err != nil {
		return state.Result{}, fmt.Errorf("proposing %s: %w", c.Kind(), err)
	}
	return *a.Result, nil
}

// Sync returns when the View of this node has all that was committed anywhere before Sync was called.
func (q *Quorum) Sync(ctx context.Context) error {
	a, err := q.ask(ctx, request{Barrier: true})
	if err == nil {
		_, err = q.Await(ctx, func(v state.View) bool { return v.Index() >= a.Index })
	}
	if err != nil {
		return fmt.Errorf("catching up with the quorum: %w", err)
	}
	return nil
}

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
		return answer{}, fmt.Errorf("%w: %w", ErrNotProposed, errors.Join(ctx.Err(), q.whyClosed()))
	}
	unknown := false
	var last error
	for {
		a, err := q.attempt(ctx, r)
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

// attempt tries every way to the leader once: itself, the direct link, and each other server as a relay.
// The ways are tried one after the other as long as each fails at once; one that only hangs, as a cut link
// does, is overtaken by the next. To ask twice is harmless, since a request is idempotent.
func (q *Quorum) attempt(ctx context.Context, r request) (answer, error) {
	ways := q.ways(r)
	if len(ways) == 0 {
		return answer{}, fmt.Errorf("no leader is known: %w", ErrNotProposed)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(ways))
	failures := make(chan error, len(ways))
	start := func(w way) {
		if !q.spawn(func() {
			if a, err := w(ctx); err != nil {
				failures <- err
			} else {
				answers <- a
			}
		}) {
			failures <- fmt.Errorf("%w: %w", ErrNotProposed, errClosed)
		}
	}
	var errs []error
	unknown := false
	started := 0
	var next <-chan time.Time
	advance := func() {
		if started < len(ways) {
			start(ways[started])
			started++
			next = time.After(q.cfg.timing.hedge)
		}
	}
	for advance(); len(errs) < len(ways); {
		select {
		case a := <-answers:
			return a, nil
		case err := <-failures:
			errs = append(errs, err)
			unknown = unknown || !errors.Is(err, ErrNotProposed)
			advance()
		case <-next:
			advance()
		case <-ctx.Done():
			if len(errs) == 0 {
				return answer{}, ctx.Err()
			}
			return answer{}, fmt.Errorf("%w: %s", ctx.Err(), errors.Join(errs...).Error())
		}
	}
	if unknown {
		return answer{}, errors.New(errors.Join(errs...).Error()) // not Is ErrNotProposed, though a part may be
	}
	return answer{}, errors.Join(errs...)
}

// A way is one way to the leader.
type way func(context.Context) (answer, error)

func (q *Quorum) ways(r request) []way {
	leader := q.Leader()
	if leader == q.cfg.Node {
		return []way{func(ctx context.Context) (answer, error) { return q.serve(ctx, r) }}
	}
	var ways []way
	to := func(node string, r request) {
		ways = append(ways, func(ctx context.Context) (answer, error) { return q.forward(ctx, node, r) })
	}
	if leader != "" {
		to(leader, r)
	}
	r.Relay = true
	for _, s := range q.cfg.Bootstrap {
		if s.Name != leader && s.Name != q.cfg.Node {
			to(s.Name, r)
		}
	}
	return ways
}

// serve carries a request out on the leader.
func (q *Quorum) serve(ctx context.Context, r request) (answer, error) {
	switch {
	case r.Barrier:
		if err := q.await(ctx, q.raft.Barrier(q.cfg.timing.rpc)); err != nil {
			return answer{}, err
		}
		return answer{Index: q.View().Index()}, nil
	case r.Learner != "":
		learner := raft.ServerAddress(r.Learner)
		return answer{}, q.await(ctx, q.raft.AddNonvoter(raft.ServerID(learner), learner, 0, q.cfg.timing.rpc))
	}
	future := q.raft.Apply(r.Command, q.cfg.timing.rpc)
	if err := q.await(ctx, future); err != nil {
		return answer{}, err
	}
	done := future.Response().(applied)
	return answer{Result: &done.result, Index: done.index}, nil
}

// await waits for one of Raft's futures. A future outlives ctx by the leader's lease at most, in which Raft
// either commits or notices that it no longer leads.
func (q *Quorum) await(ctx context.Context, future raft.Future) error {
	done := make(chan error, 1)
	if !q.spawn(func() { done <- future.Error() }) {
		return errClosed
	}
	select {
	case err := <-done:
		if refusedByRaft(err) {
			return fmt.Errorf("%w: %w", ErrNotProposed, err)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refusedByRaft knows the errors with which Raft refuses an entry before it is written. With any other, as
// ErrLeadershipLost or a full disk, the entry may be in somebody's log.
func refusedByRaft(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrEnqueueTimeout) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress)
}
