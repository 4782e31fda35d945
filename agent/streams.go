package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/drover-mesh/drover/transport"
)

// serveStreams answers each stream that comes to a listener, which it closes, until ctx ends, and waits for the answers.
// A stream is closed when it is answered, and reset when ctx ends.
func serveStreams(ctx context.Context, ln net.Listener, answer func(*transport.Conn)) error {
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	var answers sync.WaitGroup
	defer answers.Wait()
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting streams on %s: %w", ln.Addr(), err)
		}
		c, ok := conn.(*transport.Conn)
		if !ok {
			return fmt.Errorf("a stream of type %T came in", conn)
		}
		answers.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Reset(transport.FirstUserCode) })()
			answer(c)
		})
	}
}
