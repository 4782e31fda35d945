package quorum

import (
	"context"
	"time"
)

// hedge tries ways to one end, one after the other as long as each fails at once; one that only hangs, as a cut link
// does, is overtaken by the next after delay. It returns the first success, and ends the others. Otherwise it returns
// false with the errors of all, or of those that failed before ctx ended. What is won too late is given to drop.
func hedge[T any](ctx context.Context, t *tasks, delay time.Duration, ways []func(context.Context) (T, error), drop func(T)) (won T, ok bool, errs []error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wins := make(chan T)
	failures := make(chan error, len(ways))
	start := func(way func(context.Context) (T, error)) {
		if !t.spawn(func() {
			v, err := way(ctx)
			if err != nil {
				failures <- err
				return
			}
			select {
			case wins <- v:
			case <-ctx.Done():
				drop(v)
			}
		}) {
			failures <- notProposed(errClosed)
		}
	}
	started := 0
	var next <-chan time.Time
	advance := func() {
		if started < len(ways) {
			start(ways[started])
			started++
			next = time.After(delay)
		}
	}
	for advance(); len(errs) < len(ways); {
		select {
		case v := <-wins:
			return v, true, nil
		case err := <-failures:
			errs = append(errs, err)
			advance()
		case <-next:
			advance()
		case <-ctx.Done():
			return won, false, errs
		}
	}
	return won, false, errs
}
