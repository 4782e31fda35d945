package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// Conn is one stream to a node: a [net.Conn] whose two directions can be closed apart.
type Conn struct {
	session *session
	stream  *quic.Stream
	kind    Kind
	limiter *rate.Limiter // nil: not paced

	greetMu sync.Mutex
	greeted atomic.Bool // the peer has accepted the stream

	writeMu  sync.Mutex // held during Write
	deadline atomic.Pointer[time.Time]
	closed   atomic.Bool
	closing  chan struct{} // closed by Close
}

var _ net.Conn = (*Conn)(nil)

func newConn(s *session, stream *quic.Stream, kind Kind) *Conn {
	c := &Conn{session: s, stream: stream, kind: kind, closing: make(chan struct{})}
	s.streams.Add(1)
	if kind.bulk() {
		c.limiter = s.transport.limiter
	}
	return c
}

// Peer returns the name of the node at the other end, as proven by its certificate, or "" if that is a
// stranger who wants to enrol.
func (c *Conn) Peer() string { return c.session.peer }

// Generation returns that of the peer's certificate.
func (c *Conn) Generation() uint64 { return c.session.subject.generation }

// LocalAddr returns this node's UDP address.
func (c *Conn) LocalAddr() net.Addr { return c.session.conn.LocalAddr() }

// RemoteAddr returns the peer's UDP address.
func (c *Conn) RemoteAddr() net.Addr { return c.session.conn.RemoteAddr() }

// Read reads what the peer wrote. It returns io.EOF only if the peer closed the stream or its write
// direction in good order; other ends are [ErrLost], [ErrRefused] or a [ResetError].
func (c *Conn) Read(p []byte) (int, error) {
	if !c.greeted.Load() {
		if err := c.greet(); err != nil {
			return 0, err
		}
	}
	n, err := c.stream.Read(p)
	if n > 0 {
		c.session.heard()
		c.session.payloadReceived.Add(int64(n))
	}
	return n, c.streamError(err)
}

// greet reads the peer's answer to the kind. An attempt that meets a deadline can be repeated.
func (c *Conn) greet() error {
	c.greetMu.Lock()
	defer c.greetMu.Unlock()
	if c.greeted.Load() {
		return nil
	}
	var answer [1]byte
	if n, err := c.stream.Read(answer[:]); n == 0 {
		return c.streamError(err)
	}
	if answer[0] != accepted {
		c.Reset(codeAborted)
		return fmt.Errorf("%w: node %s answered %#x to a %s stream", ErrRefused, c.Peer(), answer[0], c.kind)
	}
	c.session.heard()
	c.greeted.Store(true)
	return nil
}

func (c *Conn) awaitGreeting(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.stream.SetReadDeadline(time.Unix(1, 0)) })
	err := c.greet()
	if !stop() && err == nil {
		err = context.Cause(ctx) // the deadline may be set at any time now: the stream is of no use
	}
	return err
}

// Write sends p. Bulk streams wait for their share of Config.BulkRate. That Write returned doesn't mean
// that anything has arrived.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	for {
		chunk := p[n:]
		if c.limiter != nil && len(chunk) > 0 {
			chunk = chunk[:min(len(chunk), c.limiter.Burst())]
			if err := c.pace(len(chunk)); err != nil {
				return n, err
			}
		}
		wrote, err := c.stream.Write(chunk)
		n += wrote
		c.session.payloadSent.Add(int64(wrote))
		if err != nil || n == len(p) {
			return n, c.streamError(err)
		}
	}
}

// pace waits until n bytes may be sent, and not longer than Close, the write deadline and the stream allow.
func (c *Conn) pace(n int) error {
	reservation := c.limiter.ReserveN(time.Now(), n)
	wait := reservation.Delay()
	if wait == 0 {
		return nil
	}
	var timeout <-chan time.Time
	if deadline := c.deadline.Load(); deadline != nil && !deadline.IsZero() {
		if left := time.Until(*deadline); left < wait {
			timeout = time.After(left)
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-timeout:
		reservation.Cancel()
		return os.ErrDeadlineExceeded
	case <-c.closing:
		reservation.Cancel()
		return net.ErrClosed
	case <-c.stream.Context().Done():
		reservation.Cancel()
		return c.streamError(context.Cause(c.stream.Context()))
	}
}

// bulkChunk is how much a bulk stream sends at a time: 10 ms' worth.
func bulkChunk(bytesPerSecond int64) int {
	return int(min(max(bytesPerSecond/100, 1200), 1<<20))
}

// CloseWrite tells the peer that nothing more follows: it reads io.EOF after what was written.
func (c *Conn) CloseWrite() error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	return c.streamError(c.stream.Close())
}

// Close ends the stream in good order: what was written is still delivered, as long as the connection
// lives, then the peer reads io.EOF. What the peer has sent and is still sending is discarded; its writes
// fail. A Write that Close interrupts makes the peer read a [ResetError] instead of io.EOF. Closing twice
// is harmless.
func (c *Conn) Close() error {
	if !c.markClosed() {
		return nil
	}
	if !c.writeMu.TryLock() {
		c.stream.CancelWrite(codeAborted) // wakes the Write
		c.writeMu.Lock()
	}
	defer c.writeMu.Unlock()
	c.stream.CancelRead(codeClosed)
	_ = c.stream.Close() // its errors say that this direction has ended already
	return nil
}

// markClosed returns false if the stream was closed before.
func (c *Conn) markClosed() bool {
	if c.closed.Swap(true) {
		return false
	}
	c.session.streams.Add(-1)
	close(c.closing)
	return true
}

// Reset abandons the stream in both directions at once: what is not delivered is dropped, and the peer gets
// a [ResetError] with this code, which should not be below [FirstUserCode].
func (c *Conn) Reset(code uint64) {
	c.markClosed()
	c.stream.CancelWrite(quic.StreamErrorCode(code))
	c.stream.CancelRead(quic.StreamErrorCode(code))
}

// SetDeadline sets the deadlines of reads and writes, as net.Conn has it.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline bounds reads, blocked ones included. A later one brings a stream back that met it.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.stream.SetReadDeadline(t) }

// SetWriteDeadline bounds writes, blocked ones included; one that waits for its share of the bulk rate sees
// it 10 ms or so late.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.deadline.Store(&t)
	return c.stream.SetWriteDeadline(t)
}
