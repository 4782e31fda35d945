package quorum

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A memnet joins nodes by streams in memory. Every byte takes the delay; a cut link swallows none and
// delivers none, as a real one does while senders still retransmit: what was written comes once it heals.
type memnet struct {
	delay time.Duration // one way

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each cut and heal
	cuts    map[[2]string]bool
	layers  map[string]*layer
	quorums map[string]*Quorum
}

func newMemnet(delay time.Duration) *memnet {
	return &memnet{
		delay: delay, changed: make(chan struct{}),
		cuts: map[[2]string]bool{}, layers: map[string]*layer{}, quorums: map[string]*Quorum{},
	}
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (n *memnet) set(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[pair(a, b)] = cut
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *memnet) isolate(node string, others []string, cut bool) {
	for _, other := range others {
		if other != node {
			n.set(node, other, cut)
		}
	}
}

// link says whether two nodes reach each other, and gives a channel that is closed when that may change.
func (n *memnet) link(a, b string) (up bool, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cuts[pair(a, b)], n.changed
}

// travel waits for as long as a message from a to b takes.
func (n *memnet) travel(ctx context.Context, a, b string) error {
	timer := time.NewTimer(n.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		up, changed := n.link(a, b)
		if up {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forward is Config.Forward of a node.
func (n *memnet) forward(from string) func(context.Context, string, []byte) ([]byte, error) {
	return func(ctx context.Context, to string, data []byte) ([]byte, error) {
		if err := n.travel(ctx, from, to); err != nil {
			return nil, err
		}
		n.mu.Lock()
		q := n.quorums[to]
		n.mu.Unlock()
		if q == nil {
			return nil, errors.Join(ErrNotProposed, errors.New("connection refused"))
		}
		reply, err := q.HandleForward(ctx, data)
		if err != nil {
			return nil, err
		}
		return reply, n.travel(ctx, to, from)
	}
}

// layer is one node's raft.StreamLayer.
type layer struct {
	net    *memnet
	node   string
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

func (n *memnet) listen(node string) *layer {
	l := &layer{net: n, node: node, accept: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.layers[node] = l
	return l
}

func (l *layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *layer) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.layers[l.node] == l {
			delete(l.net.layers, l.node)
		}
	})
	return nil
}

// Addr is not the node's name: Quorum has to see to that.
func (l *layer) Addr() net.Addr { return &net.UDPAddr{} }

func (l *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	to := string(address)
	if err := l.net.travel(ctx, l.node, to); err != nil {
		return nil, err
	}
	l.net.mu.Lock()
	peer := l.net.layers[to]
	l.net.mu.Unlock()
	if peer == nil {
		return nil, errors.New("connection refused")
	}
	there, back := l.net.pipe(l.node, to), l.net.pipe(to, l.node)
	select {
	case peer.accept <- &memconn{in: there, out: back}:
		return &memconn{in: back, out: there}, nil
	case <-peer.done:
		return nil, errors.New("connection refused")
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A pipe is one direction of a connection.
type pipe struct {
	net      *memnet
	from, to string

	mu      sync.Mutex
	changed chan struct{}
	parts   []part
	closed  bool
}

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

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, io.ErrClosedPipe
	}
	p.parts = append(p.parts, part{time.Now().Add(p.net.delay), append([]byte(nil), b...)})
	p.signal()
	return len(b), nil
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
		if p.parts[0].data = p.parts[0].data[n:]; len(p.parts[0].data) == 0 {
			p.parts = p.parts[1:]
		}
	}
	return n, wait, p.changed, link, nil
}

// memconn is one end of a connection.
type memconn struct {
	in, out *pipe

	mu       sync.Mutex
	deadline time.Time
	closed   bool
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

func (c *memconn) Write(b []byte) (int, error) { return c.out.write(b) }

func (c *memconn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.out.close()
	c.in.close()
	return nil
}

func (c *memconn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *memconn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.signal()
	return nil
}

func (c *memconn) SetWriteDeadline(time.Time) error { return nil }
func (c *memconn) LocalAddr() net.Addr              { return name(c.out.from) }
func (c *memconn) RemoteAddr() net.Addr             { return name(c.out.to) }
