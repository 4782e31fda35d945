package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/transport/wire"
)

// peer is the target of a move, as its source calls it.
type peer struct {
	node      string
	transport *transport.Transport
}

var _ migrate.Target = peer{}

// RTT implements [migrate.Target].
func (p peer) RTT() time.Duration { return p.transport.RTT(p.node) }

// Sent implements [migrate.Target].
func (p peer) Sent() int64 { return p.transport.BytesSent(p.node) }

// open begins a call. The stream ends with ctx.
func (p peer) open(ctx context.Context, kind transport.Kind, t wire.Type, c call) (*stream, error) {
	conn, err := p.transport.Dial(ctx, p.node, kind)
	if err != nil {
		return nil, err
	}
	s := &stream{Conn: conn}
	s.stop = context.AfterFunc(ctx, func() { conn.Reset(transport.FirstUserCode) })
	if err := wire.WriteMessage(conn, t, c); err != nil {
		s.end()
		return nil, fmt.Errorf("calling %s: %w", p.node, err)
	}
	return s, nil
}

// stream is a call under way.
type stream struct {
	*transport.Conn
	stop func() bool
}

func (s *stream) end() {
	s.stop()
	_ = s.Close()
}

// ask makes a call that has no body.
func (p peer) ask(ctx context.Context, t wire.Type, c call) (answer, error) {
	s, err := p.open(ctx, transport.Move, t, c)
	if err != nil {
		return answer{}, err
	}
	defer s.end()
	return readAnswer(s)
}

// send makes a call that has a body, and waits for its answer.
func (p peer) send(ctx context.Context, t wire.Type, c call, write func(io.Writer) error) error {
	s, err := p.open(ctx, transport.Bulk, t, c)
	if err != nil {
		return err
	}
	defer s.end()
	if err := writeBody(s, write); err != nil {
		return s.why(err)
	}
	_, err = readAnswer(s)
	return err
}

// why prefers what the target says over the fact that it stopped listening.
func (s *stream) why(err error) error {
	_ = s.SetReadDeadline(time.Now().Add(time.Second))
	if a, said := readAnswer(s); a.Error != "" {
		return said
	}
	return err
}

// Preflight implements [migrate.Target].
func (p peer) Preflight(ctx context.Context, plan migrate.Plan, f migrate.Facts) (migrate.Offer, error) {
	a, err := p.ask(ctx, framePreflight, call{Plan: &plan, Facts: &f})
	if errors.Is(err, transport.ErrLost) { // as that to an agent that has just started again; asking changes nothing
		a, err = p.ask(ctx, framePreflight, call{Plan: &plan, Facts: &f})
	}
	if err != nil || a.Offer == nil {
		return migrate.Offer{}, err
	}
	return *a.Offer, nil
}

// Prepare implements [migrate.Target].
func (p peer) Prepare(ctx context.Context, plan migrate.Plan) error {
	_, err := p.ask(ctx, framePrepare, call{Plan: &plan})
	return err
}

// Warm implements [migrate.Target].
func (p peer) Warm(ctx context.Context) error {
	_, err := p.transport.Warm(ctx, p.node)
	return err
}

// SendLayer implements [migrate.Target].
func (p peer) SendLayer(ctx context.Context, plan migrate.Plan, d state.Digest, write func(io.Writer) error) error {
	return p.send(ctx, frameLayer, call{Move: plan.ID, Digest: d}, write)
}

// SendUpper implements [migrate.Target].
func (p peer) SendUpper(ctx context.Context, plan migrate.Plan, final bool, write func(io.Writer) error) error {
	if !final {
		return p.send(ctx, frameUpper, call{Move: plan.ID}, write)
	}
	s, err := p.open(ctx, transport.Bulk, frameUpper, call{Move: plan.ID})
	if err != nil {
		return err
	}
	defer s.end() // what was written is still delivered
	return writeBody(s, write)
}

// SendImages implements [migrate.Target].
func (p peer) SendImages(ctx context.Context, plan migrate.Plan) (migrate.ImageWriter, error) {
	s, err := p.open(ctx, transport.Bulk, frameImages, call{Move: plan.ID})
	if err != nil {
		return nil, err
	}
	return imageWriter{s}, nil
}

type imageWriter struct{ *stream }

// Send implements [migrate.ImageWriter].
func (w imageWriter) Send(_ context.Context, i migrate.Image) (migrate.File, error) {
	f, err := os.Open(i.Path)
	if err != nil {
		return migrate.File{}, err
	}
	defer f.Close()
	if err := wire.WriteMessage(w, frameImage, image{i.Name}); err != nil {
		return migrate.File{}, w.why(err)
	}
	sum := sha256.New()
	var size int64
	err = writeBody(w, func(b io.Writer) (err error) {
		size, err = io.Copy(io.MultiWriter(b, sum), f)
		return err
	})
	if err != nil {
		return migrate.File{}, w.why(err)
	}
	return migrate.File{Name: i.Name, Size: size, Digest: state.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil)))}, nil
}

// Close implements [migrate.ImageWriter].
func (w imageWriter) Close() error {
	defer w.end()
	return wire.WriteFrame(w, frameEnd, nil)
}

// Restore implements [migrate.Target].
func (p peer) Restore(ctx context.Context, plan migrate.Plan, m migrate.Manifest) (migrate.Milestones, error) {
	s, err := p.open(ctx, transport.Move, frameTakeOver, call{Move: plan.ID, Manifest: &m})
	if err != nil {
		return nil, err
	}
	return milestones{s}, nil
}

type milestones struct{ *stream }

// Next implements [migrate.Milestones].
func (m milestones) Next() (migrate.Milestone, error) {
	msg, err := wire.ReadMessage(m.stream, maxCall)
	if err != nil {
		return migrate.Milestone{}, err
	}
	switch msg.Type {
	case frameMilestone:
		var x migrate.Milestone
		return x, msg.Decode(&x)
	case frameAnswer:
		var a answer
		if err := msg.Decode(&a); err != nil {
			return migrate.Milestone{}, err
		}
		if a.Error != "" {
			return migrate.Milestone{}, errors.New(a.Error)
		}
		return migrate.Milestone{}, io.EOF
	}
	return migrate.Milestone{}, fmt.Errorf("frame of type %d where a milestone should be", msg.Type)
}

// Close implements [migrate.Milestones].
func (m milestones) Close() error {
	m.end()
	return nil
}
