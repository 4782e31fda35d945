package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/transport/wire"
)

// The dialogue of a move: one stream a call. The source sends a call, for some kinds a body, and the target
// answers. Calls of small size go over the control connection (transport.Move), those with a body over the bulk
// connection (transport.Bulk).
//
//	preflight  call{plan, facts}      answer{offer}
//	prepare    call{plan}             answer
//	layer      call{move, digest}     body              answer
//	upper      call{move}             body              answer
//	images     call{move}             (image, body)...  end  answer
//	take over  call{move, manifest}   milestone...      answer
//
// Any node of the mesh may fetch any layer, also outside a move: there the answer comes first.
//
//	fetch      call{digest}           answer            body
//
// A body is frames of data and one that ends it.
const (
	framePreflight wire.Type = 1 + iota
	framePrepare
	frameLayer
	frameUpper
	frameImages
	frameTakeOver
	frameAnswer
	frameMilestone
	frameImage
	frameData
	frameEnd
	frameTree
	frameLog
	frameFetch
)

const (
	// maxCall bounds a call or an answer: a plan carries the pod's manifest, of 1 MiB at most.
	maxCall = 4 << 20
	// maxData bounds a frame of data, and chunk is what is sent: with its header it is one write.
	maxData = 64 << 10
	chunk   = 60 << 10
)

// call is what the source says first on a stream.
type call struct {
	Move     string            `json:"move,omitempty"`
	Plan     *migrate.Plan     `json:"plan,omitempty"`
	Facts    *migrate.Facts    `json:"facts,omitempty"`
	Digest   state.Digest      `json:"digest,omitempty"`
	Manifest *migrate.Manifest `json:"manifest,omitempty"`
}

// answer is the target's last word on a stream.
type answer struct {
	Error string         `json:"error,omitempty"`
	Offer *migrate.Offer `json:"offer,omitempty"`
}

// image announces the body of a checkpoint image.
type image struct {
	Name string `json:"name"`
}

// readAnswer reads the target's last word.
func readAnswer(r io.Reader) (answer, error) {
	m, err := wire.ReadMessage(r, maxCall)
	if err != nil {
		return answer{}, err
	}
	if m.Type != frameAnswer {
		return answer{}, fmt.Errorf("frame of type %d where an answer should be", m.Type)
	}
	var a answer
	if err := m.Decode(&a); err != nil {
		return answer{}, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// writeBody sends what write writes as a body.
func writeBody(w io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(dataWriter{w}, chunk)
	if err := write(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return wire.WriteFrame(w, frameEnd, nil)
}

// dataWriter sends each write as frames of data.
type dataWriter struct{ w io.Writer }

func (d dataWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+chunk, len(p))]
		if err := wire.WriteFrame(d.w, frameData, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// body reads a body: io.EOF is its end, and a stream that ends before is an error. Close gives it up.
type body struct {
	r     io.Reader
	close func()
	left  int // of the frame that is being read
	ended bool
}

func newBody(c *transport.Conn) *body {
	return &body{r: c, close: func() { c.Reset(transport.FirstUserCode) }}
}

// Close implements [io.Closer]. A Read that waits returns.
func (b *body) Close() error {
	b.close()
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	for b.left == 0 {
		if b.ended {
			return 0, io.EOF
		}
		t, n, err := wire.ReadHeader(b.r, maxData)
		switch {
		case errors.Is(err, io.EOF):
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case t == frameEnd && n == 0:
			b.ended = true
		case t == frameData:
			b.left = n
		default:
			return 0, fmt.Errorf("frame of type %d within a body", t)
		}
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
