package main

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// longRun is something long that an agent does for a command.
type longRun struct {
	do   func(ctx context.Context) error // returns when it is over, or at once when ctx ends
	undo func(ctx context.Context)       // asks for it to be undone, after which do returns; ends with ctx
	left string                          // what one who leaves should know
}

// interruptible runs it. The first interrupt asks for it to be undone, and the second leaves without waiting.
func (c *cli) interruptible(ctx context.Context, run longRun) error {
	ctx, leave := context.WithCancel(ctx)
	var undoing sync.WaitGroup
	defer func() {
		leave()
		undoing.Wait()
	}()
	signals := make(chan os.Signal, 2)
	defer c.notify(signals)()
	over := make(chan error, 1)
	go func() { over <- run.do(ctx) }()
	interrupted := false
	for {
		select {
		case err := <-over:
			if err != nil && ctx.Err() != nil {
				fmt.Fprintln(c.err, "drover: left; "+run.left)
				return errInterrupted
			}
			return err
		case <-signals:
			if interrupted {
				leave()
				undoing.Wait()
				continue
			}
			interrupted = true
			fmt.Fprintln(c.err, "drover: cancelling; Ctrl-C again leaves without waiting")
			undoing.Go(func() { run.undo(ctx) })
		}
	}
}
