package quorum

import (
	"context"
	"sync"
	"time"

	"github.com/drover-mesh/drover/state"
)

// A board shows the newest state that this node has heard of, from whomever, and tells those who watch. It never
// goes back, so that a node may change from following a server to being one.
type board struct {
	mu       sync.Mutex
	view     state.View
	watchers map[chan struct{}]struct{}
}

func newBoard() *board { return &board{watchers: map[chan struct{}]struct{}{}} }

// show puts a view on the board unless it is older.
func (b *board) show(v state.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.Index() > b.view.Index() {
		b.view = v
		b.notify()
	}
}

// replace puts a view of another history on the board.
func (b *board) replace(v state.View) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view = v
	b.notify()
}

func (b *board) look() state.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.view
}

// stir tells those who watch of something that isn't in the view.
func (b *board) stir() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notify()
}

// notify needs b.mu.
func (b *board) notify() {
	for ch := range b.watchers {
		select {
		case ch <- struct{}{}:
		default: // it hasn't looked since the last message
		}
	}
}

func (b *board) watch(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, ch)
	})
	return ch
}

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
