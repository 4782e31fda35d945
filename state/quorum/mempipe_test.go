package quorum

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A pipe is one direction of a connection.
type pipe struct {
	net      *memnet
	from, to string

	mu      sync.Mutex
	changed chan struct{}
	parts   []part
	size    int
	closed  bool
}

// window is how many bytes may be under way in a pipe; a Write beyond that waits for Reads.
const window = 256 << 10

type part struct {
	due  time.Time
	data []byte
}

func (n *memnet) pipe(from, to string) *pipe {
	return &pipe{net: n, from: from, to: to, changed: make(chan struct{})}
}

func (p *pipe) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// write takes bytes, or returns what to wait for.
func (p *pipe) write(b []byte) (n int, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, nil, io.ErrClosedPipe
	}
	if n = min(len(b), window-p.size); n > 0 {
		p.parts = append(p.parts, part{time.Now().Add(p.net.delay), append([]byte(nil), b[:n]...)})
		p.size += n
		p.signal()
	}
	return n, p.changed, nil
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.signal()
}

// take returns what may be read now, or what to wait for.
func (p *pipe) take(b []byte) (n int, wait time.Duration, changed, link <-chan struct{}, err error) {
	up, link := p.net.link(p.from, p.to)
	p.mu.Lock()
	defer p.mu.Unlock()
	wait = time.Hour
	switch {
	case !up:
	case len(p.parts) == 0 && p.closed:
		return 0, 0, nil, nil, io.EOF
	case len(p.parts) > 0:
		if wait = time.Until(p.parts[0].due); wait > 0 {
			break
		}
		n = copy(b, p.parts[0].data)
		p.size -= n
		if p.parts[0].data = p.parts[0].data[n:]; len(p.parts[0].data) == 0 {
			p.parts = p.parts[1:]
		}
		if p.size+n >= window { // somebody may wait to write
			p.signal()
		}
	}
	return n, wait, p.changed, link, nil
}

// memconn is one end of a connection.
type memconn struct {
	in, out *pipe

	mu        sync.Mutex
	deadline  time.Time // of reads
	writeTill time.Time
	closed    bool
}

func (c *memconn) Read(b []byte) (int, error) {
	for {
		n, wait, changed, link, err := c.in.take(b)
		// Only now: who closes or sets a deadline after this signals what is waited for below.
		c.mu.Lock()
		deadline, closed := c.deadline, c.closed
		c.mu.Unlock()
		if closed {
			return 0, net.ErrClosed
		}
		if n > 0 || err != nil {
			return n, err
		}
		if left := time.Until(deadline); !deadline.IsZero() && left < wait {
			if left <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
			wait = left
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-link:
		}
		timer.Stop()
	}
}

func (c *memconn) Write(b []byte) (n int, err error) {
	for {
		wrote, changed, err := c.out.write(b[n:])
		if n += wrote; err != nil || n == len(b) {
			return n, err
		}
		c.mu.Lock()
		wait := time.Hour
		if !c.writeTill.IsZero() {
			wait = time.Until(c.writeTill)
		}
		c.mu.Unlock()
		if wait <= 0 {
			return n, os.ErrDeadlineExceeded
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		}
		timer.Stop()
	}
}

// over says whether either end has closed it.
func (c *memconn) over() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.closed
}

func (c *memconn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.out.close()
	c.in.close()
	return nil
}

func (c *memconn) SetDeadline(t time.Time) error {
	_ = c.SetWriteDeadline(t)
	return c.SetReadDeadline(t)
}

func (c *memconn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.signal()
	return nil
}

// SetWriteDeadline holds for Writes that begin later.
func (c *memconn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeTill = t
	return nil
}

func (c *memconn) LocalAddr() net.Addr  { return name(c.out.from) }
func (c *memconn) RemoteAddr() net.Addr { return name(c.out.to) }
