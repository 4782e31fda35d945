package transport

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// headerTimeout is how long a new stream may take to say its kind.
const headerTimeout = 5 * time.Second

// session is one QUIC connection with an authenticated peer.
type session struct {
	transport *Transport
	conn      *quic.Conn
	peer      string

	payloadSent     atomic.Int64
	payloadReceived atomic.Int64
	lastHeard       atomic.Int64 // when stream data last arrived, in nanoseconds since the epoch; 0: never
}

func (s *session) alive() bool { return s.conn.Context().Err() == nil }

// close returns once the peer has been told.
func (s *session) close(reason string) {
	_ = s.conn.CloseWithError(codeClosed, reason) // its error is that the connection was closed already
}

func (s *session) heard() { s.lastHeard.Store(time.Now().UnixNano()) }

// heardWithin tells whether the peer was surely alive d ago.
func (s *session) heardWithin(d time.Duration) bool {
	return time.Since(time.Unix(0, s.lastHeard.Load())) < d
}

func (s *session) acceptStreams() {
	for {
		stream, err := s.conn.AcceptStream(s.transport.ctx)
		if err != nil {
			return
		}
		s.transport.wg.Go(func() { s.acceptStream(stream) })
	}
}

// acceptStream reads the kind of a stream and hands it to its listener.
func (s *session) acceptStream(stream *quic.Stream) {
	refuse := func(code quic.StreamErrorCode) {
		stream.CancelRead(code)
		stream.CancelWrite(code)
	}
	var header [1]byte
	_ = stream.SetReadDeadline(time.Now().Add(headerTimeout))
	if _, err := io.ReadFull(stream, header[:]); err != nil {
		refuse(codeNoHeader)
		return
	}
	_ = stream.SetReadDeadline(time.Time{})
	s.heard()
	l := s.transport.listening(Kind(header[0]))
	if l == nil {
		refuse(codeUnknownKind)
		return
	}
	c := newConn(s, stream, Kind(header[0]))
	c.greeted.Store(true)
	if _, err := stream.Write([]byte{accepted}); err != nil {
		refuse(codeNoHeader)
		return
	}
	if !l.offer(c) {
		refuse(codeBusy)
	}
}

// open opens a stream and sends its kind. The peer's answer is read by the Conn.
func (s *session) open(ctx context.Context, kind Kind) (*Conn, error) {
	stream, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write([]byte{byte(kind)}); err != nil {
		return nil, err
	}
	return newConn(s, stream, kind), nil
}

// headerSize is what UDP and IP add to each of the session's packets.
func (s *session) headerSize() uint64 {
	if addr, ok := s.conn.RemoteAddr().(*net.UDPAddr); ok && addr.IP.To4() == nil {
		return perPacketIPv6
	}
	return perPacketIPv4
}
