package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// trustFor is how long after hearing from a peer Dial takes it to be alive and doesn't wait for its answer.
const trustFor = 3 * heartbeat / 2

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
// If the node was heard from lately, which is so of every live connection older than a second or two, Dial
// returns at once, and a refusal shows at the first Read; otherwise it waits for the node's answer, one round trip, and makes a new connection if the
// one that it knew turns out dead. It takes five seconds at most. Errors wrap [ErrUnreachable] (no
// byte of the caller's was sent), [ErrRefused], a [ResetError], or ctx's error.
func (t *Transport) Dial(ctx context.Context, node string, kind Kind) (*Conn, error) {
	if !kind.valid() {
		return nil, fmt.Errorf("dialling node %s: there is no stream of %s", node, kind)
	}
	return t.open(ctx, node, kind)
}

func (t *Transport) open(ctx context.Context, node string, kind Kind) (*Conn, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer within %v", dialTimeout))
	defer cancel()
	conn, err := t.dial(bounded, route{node, kind.bulk()}, kind)
	switch {
	case err == nil:
		return conn, nil
	case t.ctx.Err() != nil:
		return nil, fmt.Errorf("dialling node %s: this transport is closed: %w", node, net.ErrClosed)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("dialling node %s: %w", node, context.Cause(ctx))
	case answered(err):
		return nil, fmt.Errorf("dialling node %s: %w", node, err)
	case bounded.Err() != nil:
		err = context.Cause(bounded)
	}
	return nil, fmt.Errorf("dialling node %s: %w: %s", node, ErrUnreachable, explain(err))
}

// dial tries once more if the connection that was there, or in the making, turns out dead.
func (t *Transport) dial(ctx context.Context, r route, kind Kind) (*Conn, error) {
	conn, known, err := t.tryDial(ctx, r, kind)
	if err != nil && known && ctx.Err() == nil && !answered(err) {
		conn, _, err = t.tryDial(ctx, r, kind)
	}
	if lost := new(lostError); errors.As(err, &lost) {
		err = lost.cause
	}
	return conn, err
}

func (t *Transport) tryDial(ctx context.Context, r route, kind Kind) (conn *Conn, known bool, err error) {
	s, known, err := t.session(ctx, r)
	if err != nil {
		return nil, known, err
	}
	conn, err = s.open(ctx, kind)
	if err == nil && !s.heardWithin(trustFor) {
		if err = conn.awaitGreeting(ctx); err != nil {
			conn.Reset(codeClosed)
		}
	}
	if err == nil {
		return conn, known, nil
	}
	if ctx.Err() == nil && !answered(err) {
		s.broken.Store(true)
	}
	return nil, known, err
}

// answered tells whether err is the peer's own answer, so that its connection is well.
func answered(err error) bool {
	var reset *ResetError
	return errors.Is(err, ErrRefused) || errors.As(err, &reset)
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
	conn, err := t.quic.Dial(ctx, net.UDPAddrFromAddrPort(addr), t.identity.Load().tlsConfig(r.node, t.revoked), quicConfig(-1))
	if err != nil {
		return nil, err
	}
	s := &session{transport: t, conn: conn, peer: r.node}
	if s.subject, err = nameOf(conn.ConnectionState().TLS.PeerCertificates[0]); err != nil {
		return nil, err
	}
	if !t.adopt(s) {
		return nil, net.ErrClosed
	}
	t.config.Log.Debug("connected", "peer", r.node, "address", addr, "bulk", r.bulk, "took", time.Since(start))
	return s, nil
}
