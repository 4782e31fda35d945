package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
)

// watcher remembers what it was told of a move.
type watcher struct{ told []string }

func (w *watcher) Started(m api.Move) { w.told = append(w.told, "started "+m.ID) }
func (w *watcher) Event(e api.Event)  { w.told = append(w.told, e.Step) }

func newMove() (*move, context.Context) {
	ctx, cancel := context.WithCancel(context.Background())
	plan := migrate.Plan{ID: "m1", Pod: state.Pod{Name: "redis"}, Source: "ams", Target: "fra"}
	return &move{plan: plan, cancel: cancel, done: make(chan struct{}), news: make(chan struct{})}, ctx
}

// TestEachWatcherHearsAllInOrder lets some watch from the start, and some who come late.
func TestEachWatcherHearsAllInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := newMove()
		want := []string{"started m1"}
		const watchers = 20
		all := make([]watcher, watchers)
		ended := make(chan error)
		for i := range all {
			if i >= watchers/2 {
				x.tell(migrate.Progress{Step: string(rune('a' + i))})
				want = append(want, string(rune('a'+i)))
			}
			go func() {
				_, err := (&moves{}).follow(t.Context(), x, &all[i])
				ended <- err
			}()
			if i%3 == 0 {
				synctest.Wait()
			}
		}
		x.tell(migrate.Progress{Step: "last"})
		want = append(want, "last")
		close(x.done)
		for range all {
			require.NoError(t, <-ended)
		}
		for i := range all {
			require.Equal(t, want, all[i].told)
		}
	})
}

// TestWatcherThatLeavesCancelsAndWaits ends a request: its move is cancelled, and what becomes of it still told.
func TestWatcherThatLeavesCancelsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, moving := newMove()
		ctx, leave := context.WithCancel(t.Context())
		var w watcher
		ended := make(chan error, 1)
		go func() {
			_, err := (&moves{}).follow(ctx, x, &w)
			ended <- err
		}()
		synctest.Wait()
		require.NoError(t, moving.Err())
		leave()
		synctest.Wait()
		require.Error(t, moving.Err())
		require.Empty(t, ended, "the move is not settled yet")
		x.tell(migrate.Progress{Step: "final", Status: migrate.Undone})
		x.err = &migrate.Error{Step: "final", Node: "ams", Cause: errors.New("cut"), Settled: "the pod goes on at ams"}
		close(x.done)
		err := <-ended
		require.Equal(t, api.Aborted, api.AsError(err).Code)
		require.ErrorContains(t, err, "final")
		require.Equal(t, []string{"started m1", "final"}, w.told)
	})
}
