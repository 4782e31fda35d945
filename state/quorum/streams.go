package quorum

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Kind says what a stream between two nodes is for.
type Kind int

// The kinds of streams.
const (
	// Raft is what servers speak with each other.
	Raft Kind = iota
	// Follow is what a server tells the nodes that follow it.
	Follow
)

// streams are the streams of one kind that a server accepts and, as Raft sees them (raft.StreamLayer), dials. Its
// address is the node's name, and every connection is known, so that close can end them: Raft's transport itself
// leaves those that it accepted to their peers.
type streams struct {
	net.Listener
	name name
	kind Kind
	era  uint64 // of the server that has a seat, for streams of Raft
	dial func(ctx context.Context, node string) (net.Conn, error)

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
	served sync.WaitGroup // accepted connections that nobody has let go of
}

// listen claims the streams of a kind.
func (q *Quorum) listen(kind Kind) *streams {
	return &streams{
		Listener: q.cfg.Listen(kind), name: name(q.cfg.Node), kind: kind, open: map[*conn]struct{}{},
		dial: func(ctx context.Context, node string) (net.Conn, error) { return q.cfg.Dial(ctx, node, kind) },
	}
}

// name is a node's name as an address.
type name string

func (name) Network() string  { return "drover" }
func (n name) String() string { return string(n) }

// Addr implements net.Listener: Raft tells the others how to dial this node.
func (s *streams) Addr() net.Addr { return s.name }

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(c, &s.served)
}

// Dial implements raft.StreamLayer.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := s.dial(ctx, string(address))
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", address, err)
	}
	if err := sayEra(c, s.era); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dialling %s: %w", address, err)
	}
	return s.track(c, nil)
}

// track notes the connection, in a group too if somebody has to wait for it.
func (s *streams) track(c net.Conn, group *sync.WaitGroup) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	tracked := &conn{Conn: c, owner: s, group: group, unheard: group != nil && s.kind == Raft}
	s.open[tracked] = struct{}{}
	if group != nil {
		group.Add(1)
	}
	return tracked, nil
}

// shut closes the listener and every connection under their users' feet.
func (s *streams) shut() {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[*conn]struct{}{}
	s.mu.Unlock()
	_ = s.Listener.Close()
	for c := range open {
		_ = c.Conn.Close()
	}
}

// wait returns when nobody serves a connection any more. Those that were dialled may lie in a pool, where
// nobody uses them.
func (s *streams) wait() { s.served.Wait() }

// conn is a connection that tells streams when its user is through with it.
type conn struct {
	net.Conn
	owner *streams
	group *sync.WaitGroup
	once  sync.Once

	unheard bool   // of which era it is
	rest    []byte // of what was read to know that
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (n int, err error) {
	if c.unheard {
		if c.rest, err = hearEra(c.Conn, c.owner.era); err != nil {
			return 0, err
		}
		c.unheard = false
	}
	if len(c.rest) > 0 {
		n = copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// Close implements net.Conn.
func (c *conn) Close() (err error) {
	c.once.Do(func() {
		err = c.Conn.Close()
		c.owner.mu.Lock()
		delete(c.owner.open, c)
		c.owner.mu.Unlock()
		if c.group != nil {
			c.group.Done()
		}
	})
	return err
}
