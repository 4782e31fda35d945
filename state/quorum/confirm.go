package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A witness makes sure that a server still leads, at some moment after it was asked: a majority of the voters say that they know
// of no later term than its own. Whoever leads later needs the vote of one of them, and gets it only afterwards, since a voter
// enters the term in which it votes before it votes. So what was asked for before was asked for before anybody else was elected.
//
// Raft's VerifyLeader says less: it takes an answer for a yes that was on its way when it was asked, and counts servers that
// have no vote.
//
// Any number of questions at a time are one round of calls, without a write to a disk. Rounds that follow each other begin no
// more often than every so often: what a round costs doesn't grow with the number of nodes that ask.
type witness struct {
	seat  *seat
	every time.Duration
	ask   func(ctx context.Context, node string, r request) (answer, error)

	mu      sync.Mutex
	next    *round // that the questions of now wait for; nil if there are none
	running bool
}

// A round is one question to all voters, on behalf of all that came before it began.
type round struct {
	done chan struct{}
	term uint64 // Raft's, which the round has confirmed
	err  error
}

// confirm returns the term of Raft in which this server led at some moment between the call and the return.
func (w *witness) confirm(ctx context.Context) (term uint64, err error) {
	w.mu.Lock()
	if w.next == nil {
		w.next = &round{done: make(chan struct{})}
	}
	r := w.next
	if !w.running {
		w.running = w.seat.tasks.spawn(w.run)
	}
	running := w.running
	w.mu.Unlock()
	if !running {
		return 0, errClosed
	}
	select {
	case <-r.done:
		return r.term, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run holds one round after the other as long as somebody waits for one.
func (w *witness) run() {
	pace := time.NewTicker(w.every)
	defer pace.Stop()
	for {
		w.mu.Lock()
		r := w.next
		w.next, w.running = nil, r != nil
		w.mu.Unlock()
		if r == nil {
			return
		}
		r.term, r.err = w.hold(w.seat.ctx)
		close(r.done)
		select {
		case <-pace.C:
		case <-w.seat.ctx.Done():
		}
	}
}

// hold asks all voters, and returns when a majority has confirmed.
func (w *witness) hold(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, w.seat.timing.rpc)
	defer cancel()
	term, voters := w.seat.raft.CurrentTerm(), w.seat.members().voters
	if !w.seat.leads() {
		return 0, notProposed(raft.ErrNotLeader)
	}
	answers := make(chan error, len(voters))
	for _, node := range voters {
		if node == w.seat.node {
			answers <- nil
			continue
		}
		if !w.seat.tasks.spawn(func() { answers <- w.confirmedBy(ctx, node, term) }) {
			return 0, errClosed
		}
	}
	var refusals []error
	for yes := 0; yes <= len(voters)/2; {
		select {
		case err := <-answers:
			if err == nil {
				yes++
			} else if refusals = append(refusals, err); len(refusals) >= len(voters)-len(voters)/2 {
				return 0, fmt.Errorf("the majority does not confirm that this server leads: %w", errors.Join(refusals...))
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("the majority does not confirm that this server leads: %w", errors.Join(append(refusals, ctx.Err())...))
		}
	}
	if w.seat.raft.CurrentTerm() != term || !w.seat.leads() {
		return 0, notProposed(raft.ErrNotLeader)
	}
	return term, nil
}

func (w *witness) confirmedBy(ctx context.Context, node string, term uint64) error {
	a, err := w.ask(ctx, node, request{Confirm: true})
	if err == nil && a.Term != term {
		err = fmt.Errorf("%s is in term %d, not in %d", node, a.Term, term)
	}
	return err
}
