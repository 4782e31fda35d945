package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// trustFor is how long after hearing from a peer Dial takes it to be alive and doesn't wait for its answer.
const trustFor = time.Second

// route is what has a connection of its own.
type route struct {
	node string
	bulk bool
}

// dialling is a connection that is, or will be, or could not be. session and err are set when done closes.
type dialling struct {
	done    chan struct{}
	session *session
	err     error
}

// Dial opens a stream to a node. The caller closes it.
//
// If the node was heard from within the last second, Dial returns at once, and a refusal shows at the
// first Read; otherwise it waits for the node's answer, one round trip, and makes a new connection if the
// one that it knew turns out dead. It takes five seconds at most. Errors wrap [ErrUnreachable] (surely
// nothing was delivered), [ErrRefused], or ctx's error.
func (t *Transport) Dial(ctx context.Context, node string, kind Kind) (*Conn, error) {
	if !kind.valid() {
		return nil, fmt.Errorf("dialling node %s: there is no stream of %s", node, kind)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer within %v", dialTimeout))
	defer cancel()
	conn, err := t.dial(bounded, route{node, kind == Bulk}, kind)
	switch {
	case err == nil:
		return conn, nil
	case t.ctx.Err() != nil:
		return nil, fmt.Errorf("dialling node %s: this transport is closed: %w", node, net.ErrClosed)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("dialling node %s: %w", node, context.Cause(ctx))
	case errors.Is(err, ErrRefused):
		return nil, fmt.Errorf("dialling node %s: %w", node, err)
	case bounded.Err() != nil:
		err = context.Cause(bounded)
	}
	return nil, fmt.Errorf("dialling node %s: %w: %s", node, ErrUnreachable, explain(err))
}

func (t *Transport) dial(ctx context.Context, r route, kind Kind) (*Conn, error) {
	for first := true; ; first = false {
		s, known, err := t.session(ctx, r)
		if err != nil {
			return nil, err
		}
		conn, err := s.open(ctx, kind)
		if err == nil && !s.heardWithin(trustFor) {
			err = conn.awaitGreeting(ctx)
		}
		if err == nil {
			return conn, nil
		}
		if conn != nil {
			conn.Reset(codeClosed)
		}
		if s.alive() || !known || !first {
			if lost := new(lostError); errors.As(err, &lost) {
				err = lost.cause
			}
			return nil, err
		}
	}
}

// session returns the connection of a route, making it if there is none. known tells that it was there.
func (t *Transport) session(ctx context.Context, r route) (s *session, known bool, err error) {
	t.mu.Lock()
	d := t.dialled[r]
	if d != nil && d.failed() {
		d = nil
	}
	known = d != nil
	if d == nil {
		if t.closed {
			t.mu.Unlock()
			return nil, false, net.ErrClosed
		}
		d = &dialling{done: make(chan struct{})}
		t.dialled[r] = d
		t.wg.Go(func() {
			defer close(d.done)
			d.session, d.err = t.connect(r)
		})
	}
	t.mu.Unlock()
	select {
	case <-d.done:
		return d.session, known, d.err
	case <-ctx.Done():
		return nil, known, context.Cause(ctx)
	}
}

func (d *dialling) failed() bool {
	select {
	case <-d.done:
		return d.err != nil || !d.session.alive()
	default:
		return false
	}
}

// connect makes a connection. It is the transport's, not that of the Dial that happened to need it first.
func (t *Transport) connect(r route) (*session, error) {
	addr, err := t.config.Resolve(r.node)
	if err != nil {
		return nil, fmt.Errorf("its address is not known: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(t.ctx, dialTimeout, fmt.Errorf("no answer from %s within %v", addr, dialTimeout))
	defer cancel()
	start := time.Now()
	conn, err := t.quic.Dial(ctx, net.UDPAddrFromAddrPort(addr), t.config.Identity.tlsConfig(r.node), quicConfig(-1))
	if err != nil {
		return nil, err
	}
	s := &session{transport: t, conn: conn, peer: r.node}
	if !t.adopt(s) {
		return nil, net.ErrClosed
	}
	t.config.Log.Debug("connected", "peer", r.node, "address", addr, "bulk", r.bulk, "took", time.Since(start))
	return s, nil
}
