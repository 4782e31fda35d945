package quorum

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// A memnet joins nodes by streams in memory. Every byte takes the delay; a cut link swallows none and
// delivers none, as a real one does while senders still retransmit: what was written comes once it heals.
type memnet struct {
	delay time.Duration // one way

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each cut and heal
	cuts    map[[2]string]bool
	layers  map[endpoint]*layer
	quorums map[string]*Quorum
	dialled map[endpoint][]*memconn // by who dialled
	calls   map[string]int          // of Forward for leases, by who called
}

func newMemnet(delay time.Duration) *memnet {
	return &memnet{
		delay: delay, changed: make(chan struct{}),
		cuts: map[[2]string]bool{}, layers: map[endpoint]*layer{}, quorums: map[string]*Quorum{}, dialled: map[endpoint][]*memconn{},
		calls: map[string]int{},
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

// wait lets the delay pass. Without one it takes no timer: one that fires at once in a bubble upsets Go's race detector.
func (n *memnet) wait(ctx context.Context) error {
	if n.delay == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(n.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// travel waits for as long as a message from a to b takes.
func (n *memnet) travel(ctx context.Context, a, b string) error {
	if err := n.wait(ctx); err != nil {
		return err
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

// heal puts all links right.
func (n *memnet) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	close(n.changed)
	n.changed = make(chan struct{})
}

// peer returns to whom a node has a connection of a kind open, the last one if there are several, or "".
func (n *memnet) peer(node string, kind Kind) (peer string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.dialled[endpoint{node, kind}] {
		if !c.over() {
			peer = c.out.to
		}
	}
	return peer
}

// forward is Config.Forward of a node.
func (n *memnet) forward(from string) func(context.Context, string, []byte) ([]byte, error) {
	return func(ctx context.Context, to string, data []byte) ([]byte, error) {
		if err := n.travel(ctx, from, to); err != nil {
			return nil, err
		}
		n.mu.Lock()
		if bytes.Contains(data, []byte(`"renew"`)) || bytes.Contains(data, []byte(`"confirm"`)) {
			n.calls[from]++
		}
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

// endpoint is where a node takes streams of one kind.
type endpoint struct {
	node string
	kind Kind
}

// layer is one node's listener.
type layer struct {
	net    *memnet
	at     endpoint
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

// listen is Config.Listen of a node.
func (n *memnet) listen(node string) func(Kind) net.Listener {
	return func(kind Kind) net.Listener {
		at := endpoint{node, kind}
		l := &layer{net: n, at: at, accept: make(chan net.Conn), done: make(chan struct{})}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.layers[at] = l
		return l
	}
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
		if l.net.layers[l.at] == l {
			delete(l.net.layers, l.at)
		}
	})
	return nil
}

// Addr is not the node's name: Quorum has to see to that.
func (l *layer) Addr() net.Addr { return &net.UDPAddr{} }

// dial is Config.Dial of a node.
func (n *memnet) dial(from string) func(context.Context, string, Kind) (net.Conn, error) {
	return func(ctx context.Context, to string, kind Kind) (net.Conn, error) {
		if err := n.travel(ctx, from, to); err != nil {
			return nil, err
		}
		n.mu.Lock()
		peer := n.layers[endpoint{to, kind}]
		n.mu.Unlock()
		if peer == nil {
			return nil, errors.New("connection refused")
		}
		there, back := n.pipe(from, to), n.pipe(to, from)
		c := &memconn{in: back, out: there}
		select {
		case peer.accept <- &memconn{in: there, out: back}:
			n.mu.Lock()
			defer n.mu.Unlock()
			n.dialled[endpoint{from, kind}] = append(n.dialled[endpoint{from, kind}], c)
			return c, nil
		case <-peer.done:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
