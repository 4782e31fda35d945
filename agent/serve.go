package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/transport/wire"
)

// moveServer answers the calls of moves that come to this node.
type moveServer struct {
	arrivals *migrate.Arrivals
	log      *slog.Logger
}

// serve answers the streams of a listener until ctx ends, and waits for them.
func (s moveServer) serve(ctx context.Context, ln net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting calls of moves: %w", err)
		}
		c, ok := conn.(*transport.Conn)
		if !ok {
			return fmt.Errorf("a stream of type %T came in", conn)
		}
		calls.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Reset(transport.FirstUserCode) })()
			if err := s.answer(ctx, c); err != nil {
				s.log.Debug("answering a call of a move", "peer", c.Peer(), "err", err)
			}
		})
	}
}

// answer answers one call. The error is that of the stream.
func (s moveServer) answer(ctx context.Context, conn *transport.Conn) error {
	msg, err := wire.ReadMessage(conn, maxCall)
	if err != nil {
		return err
	}
	var c call
	if err := msg.Decode(&c); err != nil {
		return err
	}
	var a answer
	if err := s.do(ctx, conn, msg.Type, c, &a); err != nil {
		s.log.Warn("a call of a move failed", "peer", conn.Peer(), "move", c.Move, "err", err)
		a.Error = err.Error()
	}
	return wire.WriteMessage(conn, frameAnswer, a)
}

func (s moveServer) do(ctx context.Context, conn *transport.Conn, t wire.Type, c call, a *answer) error {
	peer := conn.Peer()
	switch t {
	case framePreflight:
		if c.Plan == nil || c.Facts == nil {
			return errors.New("a preflight without plan or facts")
		}
		offer, err := s.arrivals.Preflight(ctx, peer, *c.Plan, *c.Facts)
		a.Offer = &offer
		return err
	case framePrepare:
		if c.Plan == nil {
			return errors.New("a call without a plan")
		}
		return s.arrivals.Prepare(ctx, peer, *c.Plan)
	case frameLayer:
		return s.arrivals.Layer(ctx, peer, c.Move, c.Digest, &body{r: conn})
	case frameUpper:
		return s.arrivals.Upper(ctx, peer, c.Move, &body{r: conn})
	case frameImages:
		return s.images(conn, c.Move)
	case frameTakeOver:
		if c.Manifest == nil {
			return errors.New("a take-over without a manifest")
		}
		return s.takeOver(conn, c)
	}
	return fmt.Errorf("a call of type %d is not known here", t)
}

// images receives the images of one stream.
func (s moveServer) images(conn *transport.Conn, move string) error {
	for {
		t, payload, err := wire.ReadFrame(conn, maxData)
		if err != nil {
			return err
		}
		if t == frameEnd {
			return nil
		}
		if t != frameImage {
			return fmt.Errorf("frame of type %d where an image should begin", t)
		}
		var i image
		if err := (wire.Message{Type: t, Body: payload}).Decode(&i); err != nil {
			return err
		}
		if err := s.arrivals.Image(conn.Peer(), move, i.Name, &body{r: conn}); err != nil {
			return err
		}
	}
}

func (s moveServer) takeOver(conn *transport.Conn, c call) error {
	var mu sync.Mutex
	return s.arrivals.TakeOver(conn.Peer(), c.Move, *c.Manifest, func(m migrate.Milestone) {
		mu.Lock()
		defer mu.Unlock()
		if err := wire.WriteMessage(conn, frameMilestone, m); err != nil {
			s.log.Debug("telling a source how its move goes on", "peer", conn.Peer(), "err", err)
		}
	})
}
