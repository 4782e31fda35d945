package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/transport/wire"
)

// moveServer answers the calls of moves that come to this node, and of nodes that lack layers.
type moveServer struct {
	arrivals *migrate.Arrivals
	layers   layerSource
	log      *slog.Logger
}

// layerSource has layers that other nodes may want.
type layerSource interface {
	Has(layer state.Digest) bool
	Export(ctx context.Context, layer state.Digest, w io.Writer) error
}

// serve answers the streams of a listener until ctx ends, and waits for them.
func (s moveServer) serve(ctx context.Context, ln net.Listener) error {
	return serveStreams(ctx, ln, func(c *transport.Conn) {
		if err := s.answer(ctx, c); err != nil {
			s.log.Debug("answering a call of a move", "peer", c.Peer(), "err", err)
		}
	})
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
	if msg.Type == frameFetch {
		return s.sendLayer(ctx, conn, c.Digest)
	}
	var a answer
	if err := s.do(ctx, conn, msg.Type, c, &a); err != nil {
		s.log.Warn("a call of a move failed", "peer", conn.Peer(), "move", c.Move, "err", err)
		a.Error = err.Error()
	}
	return wire.WriteMessage(conn, frameAnswer, a)
}

// sendLayer sends a layer to a node that lacks it. What breaks in the middle of it breaks the stream.
func (s moveServer) sendLayer(ctx context.Context, conn *transport.Conn, layer state.Digest) error {
	if !s.layers.Has(layer) {
		return wire.WriteMessage(conn, frameAnswer, answer{Error: fmt.Sprintf("there is no layer %.80s", string(layer))})
	}
	if err := wire.WriteMessage(conn, frameAnswer, answer{}); err != nil {
		return err
	}
	err := writeBody(conn, func(w io.Writer) error { return s.layers.Export(ctx, layer, w) })
	if err != nil {
		conn.Reset(transport.FirstUserCode)
	}
	return err
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
		return s.arrivals.Layer(ctx, peer, c.Move, c.Digest, newBody(conn))
	case frameUpper:
		return s.arrivals.Upper(ctx, peer, c.Move, newBody(conn))
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
		more, err := s.image(conn, move)
		if err != nil {
			s.arrivals.Lost(conn.Peer(), move, err)
		}
		if err != nil || !more {
			return err
		}
	}
}

// image receives an image, or the end of the stream.
func (s moveServer) image(conn *transport.Conn, move string) (more bool, err error) {
	t, payload, err := wire.ReadFrame(conn, maxData)
	if err != nil {
		return false, err
	}
	if t == frameEnd {
		return false, nil
	}
	if t != frameImage {
		return false, fmt.Errorf("frame of type %d where an image should begin", t)
	}
	var i image
	if err := (wire.Message{Type: t, Body: payload}).Decode(&i); err != nil {
		return false, err
	}
	return true, s.arrivals.Image(conn.Peer(), move, i.Name, newBody(conn))
}

// takeOver tells the source of each milestone. A source that can't be reached must not hold up its pod.
func (s moveServer) takeOver(conn *transport.Conn, c call) error {
	news := make(chan migrate.Milestone, 8) // more than there are
	var telling sync.WaitGroup
	telling.Go(func() {
		for m := range news {
			if err := wire.WriteMessage(conn, frameMilestone, m); err != nil {
				s.log.Debug("telling a source how its move goes on", "peer", conn.Peer(), "err", err)
			}
		}
	})
	defer telling.Wait()
	defer close(news)
	return s.arrivals.TakeOver(conn.Peer(), c.Move, *c.Manifest, func(m migrate.Milestone) { news <- m })
}
