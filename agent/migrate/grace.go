package migrate

import (
	"context"
	"errors"
	"time"
)

const (
	// againAfter is after how long something that failed is tried again, at first; doubled each time, up to againAtMost.
	againAfter  = 50 * time.Millisecond
	againAtMost = 2 * time.Second
	// grace is how much longer than the agent's life a move may take that has begun: enough to abort it and thaw
	// the pod, or to let it run at the target, so that it doesn't stay frozen while no agent runs.
	grace = 5 * time.Second
)

// outlive returns a context that ends a grace after life.
func outlive(life context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(life))
	stop := context.AfterFunc(life, func() {
		wait, done := context.WithTimeout(ctx, grace)
		defer done()
		<-wait.Done()
		cancel()
	})
	return ctx, func() { stop(); cancel() }
}

// again repeats f until it succeeds: what must be undone or finished can't be given up.
func again(ctx context.Context, f func() error, failed func(error)) error {
	for wait := againAfter; ; wait = min(2*wait, againAtMost) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := f()
		if err == nil {
			return nil
		}
		failed(err)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}
