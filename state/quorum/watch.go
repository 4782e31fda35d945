package quorum

import (
	"context"
	"sync"
	"time"

	"github.com/drover-mesh/drover/state"
)

// A bell tells those who watch that something has changed. Its zero value is ready.
type bell struct {
	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.watchers {
		select {
		case ch <- struct{}{}:
		default: // it hasn't looked since the last message
		}
	}
}

// watch returns a channel on which the first message is at once, until ctx ends.
func (b *bell) watch(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watchers == nil {
		b.watchers = map[chan struct{}]struct{}{}
	}
	b.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, ch)
	})
	return ch
}

// A board shows the newest state that this node has heard of, from whomever, and tells those who watch. It never
// goes back, so that a node may change from following a server to being one.
type board struct {
	bell
	mu   sync.Mutex
	view state.View
}

// show puts a view on the board unless it is older.
func (b *board) show(v state.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.Index() > b.view.Index() {
		b.view = v
		b.ring()
	}
}

// replace puts a view of another history on the board.
func (b *board) replace(v state.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view = v
	b.ring()
}

func (b *board) look() state.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.view
}

// stir tells those who watch of something that isn't in the view.
func (b *board) stir() { b.ring() }

// View returns the state as far as this node has heard.
func (q *Quorum) View() state.View { return q.board.look() }

// Watch returns a channel that says "something may have changed: look at the View". Any number of changes
// are one message until it is received, and the first comes at once. It is never closed; it falls silent
// when ctx ends.
func (q *Quorum) Watch(ctx context.Context) <-chan struct{} { return q.board.watch(ctx) }

// Await returns the first View for which ok is true, or the error of ctx.
func (q *Quorum) Await(ctx context.Context, ok func(state.View) bool) (state.View, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := q.Watch(ctx)
	for {
		select {
		case <-changed:
			if v := q.View(); ok(v) {
				return v, nil
			}
		case <-q.ctx.Done():
			return state.View{}, errClosed
		case <-ctx.Done():
			return state.View{}, ctx.Err()
		}
	}
}

// reached waits until the View of this node has as many commands. If that takes long, the server that it follows may
// be out of reach.
func (q *Quorum) reached(ctx context.Context, index uint64) error {
	if f := q.follower.Load(); f != nil {
		defer time.AfterFunc(q.cfg.timing.hedge, f.doubt).Stop()
	}
	_, err := q.Await(ctx, func(v state.View) bool { return v.Index() >= index })
	return err
}
