package transport

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/quic-go"
)

// padding is the kind of streams whose data the accepting side throws away. It needs no listener.
const padding Kind = 0x7f

const (
	// maxPadding bounds what Warm sends and what the other side takes: twice 1 Gbit/s x 100 ms, in slow start.
	maxPadding = 32 << 20
	// paddingChunk is small beside the windows at which the speed of a path shows.
	paddingChunk = 32 << 10
)

// Warm makes the bulk connection to a node, if there is none, and sends padding on it until its congestion
// window has found the speed of the path, so that the next transfer has it from its first byte: slow start
// costs some five round trips, and quic-go keeps the window through idle times. It sends a few
// bandwidth-delay products, 32 MiB at most, for which Config.BulkRate holds, and returns how many bytes
// that were. On a connection that is warm already it sends nothing. One whose window losses have halved since
// is replaced: streams that are open on it go on, new ones find the new connection. (quic-go's Reno would
// need minutes to grow back what slow start finds in half a second.)
func (t *Transport) Warm(ctx context.Context, node string) (sent int64, err error) {
	conn, err := t.open(ctx, node, padding)
	if err != nil {
		return 0, err
	}
	if warm := conn.session.warmWindow.Load(); warm > 0 {
		defer conn.Reset(codeClosed)
		if conn.session.conn.ConnectionStats().CongestionWindow >= warm/2 {
			return 0, nil
		}
		conn.session.retired.Store(true)
		return t.Warm(ctx, node)
	}
	return conn.warm(ctx)
}

// warm sends padding on a stream of its kind.
func (c *Conn) warm(ctx context.Context) (sent int64, err error) {
	defer c.Reset(codeClosed) // nobody waits for the rest, or sends it again
	s := c.session
	stop := context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	chunk := make([]byte, paddingChunk)
	last, lastAt := s.conn.ConnectionStats(), time.Now()
	for sent < maxPadding {
		n, err := c.Write(chunk)
		sent += int64(n)
		if ctx.Err() != nil {
			return sent, fmt.Errorf("warming the connection to node %s: %w", c.Peer(), context.Cause(ctx))
		}
		if err != nil {
			return sent, fmt.Errorf("warming the connection to node %s: %w", c.Peer(), err)
		}
		now := s.conn.ConnectionStats()
		if now.PacketsLost > last.PacketsLost {
			break // slow start has ended
		}
		if time.Since(lastAt) < now.SmoothedRTT*3/2 {
			continue
		}
		if now.CongestionWindow < last.CongestionWindow*5/4 {
			break // ended by delay, or limited by the bulk rate
		}
		last, lastAt = now, time.Now()
	}
	s.warmWindow.Store(s.conn.ConnectionStats().CongestionWindow)
	return sent, nil
}

// swallow reads a stream of padding to its end.
func swallow(stream *quic.Stream) {
	_, _ = io.CopyN(io.Discard, stream, maxPadding)
	stream.CancelRead(codeClosed)
	_ = stream.Close()
}
