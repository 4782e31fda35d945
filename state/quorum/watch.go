package quorum

import (
	"context"

	"github.com/drover-mesh/drover/state"
)

// Watch returns a channel that says "something may have changed: look at the View". Any number of changes
// are one message until it is received, and the first comes at once. It is never closed; it falls silent
// when ctx ends.
func (q *Quorum) Watch(ctx context.Context) <-chan struct{} {
	return q.machine.watch(ctx)
}

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

func (m *machine) watch(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, ch)
	})
	return ch
}

// notify needs m.mu.
func (m *machine) notify() {
	for ch := range m.watchers {
		select {
		case ch <- struct{}{}:
		default: // it hasn't looked since the last message
		}
	}
}
