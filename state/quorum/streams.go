package quorum

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// streams is the stream layer as Raft sees it: its address is the node's name, and every connection is
// known, so that Close can end them. Raft's transport itself leaves those that it accepted to their peers.
type streams struct {
	raft.StreamLayer
	name name

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
	served sync.WaitGroup // accepted connections that Raft has not let go of
}

func newStreams(layer raft.StreamLayer, node string) *streams {
	return &streams{StreamLayer: layer, name: name(node), open: map[*conn]struct{}{}}
}

// name is a node's name as an address.
type name string

func (name) Network() string  { return "drover" }
func (n name) String() string { return string(n) }

// Addr implements net.Listener: Raft tells the others how to dial this node.
func (s *streams) Addr() net.Addr { return s.name }

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	c, err := s.StreamLayer.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(c, &s.served)
}

// Dial implements raft.StreamLayer.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := s.StreamLayer.Dial(address, timeout)
	if err != nil {
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
	tracked := &conn{Conn: c, owner: s, group: group}
	s.open[tracked] = struct{}{}
	if group != nil {
		group.Add(1)
	}
	return tracked, nil
}

// shut closes the listener and every connection under Raft's feet.
func (s *streams) shut() {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[*conn]struct{}{}
	s.mu.Unlock()
	_ = s.StreamLayer.Close()
	for c := range open {
		_ = c.Conn.Close()
	}
}

// wait returns when Raft serves no connection any more. Those that it dialled may lie in a pool, where
// nobody uses them.
func (s *streams) wait() { s.served.Wait() }

// conn is a connection that tells streams when Raft is through with it.
type conn struct {
	net.Conn
	owner *streams
	group *sync.WaitGroup
	once  sync.Once
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
