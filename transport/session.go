package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// lingers is how many heartbeats a replaced connection outlives its last stream, for what is still on its way.
const lingers = 3

// headerTimeout is how long a new stream may take to say its kind.
const headerTimeout = 5 * time.Second

// headerSize is the length of a stream's header: its kind and zeros, which are not looked at. Together with
// the rest of a packet it is more than the 42 bytes (quic-go's protocol.MinStatelessResetSize) up to which
// a restarted agent doesn't say that it knows nothing of the connection; so is the payload of a heartbeat.
const headerSize = 16

// session is one QUIC connection with an authenticated peer.
type session struct {
	transport *Transport
	conn      *quic.Conn
	peer      string  // "" is a stranger, see acceptStranger
	subject   subject // of the peer's certificate

	broken          atomic.Bool // a stream said so, which can be a moment before the connection's context does
	retired         atomic.Bool // replaced by Warm: closed when its last stream is
	streams         atomic.Int64
	payloadSent     atomic.Int64
	payloadReceived atomic.Int64
	warmWindow      atomic.Uint64             // the congestion window, in bytes, when Warm was done; 0: never
	lastHeard       atomic.Pointer[time.Time] // when anything last arrived, at most a heartbeat too late; nil: never
}

// alive tells whether new streams may be opened.
func (s *session) alive() bool {
	return s.conn.Context().Err() == nil && !s.broken.Load() && !s.retired.Load()
}

// close returns once the peer has been told.
func (s *session) close(reason string) {
	_ = s.conn.CloseWithError(codeClosed, reason) // its error is that the connection was closed already
}

func (s *session) heard() {
	now := time.Now()
	s.lastHeard.Store(&now)
}

// heardWithin tells whether anything arrived in the last d, by the monotonic clock, give or take a heartbeat.
func (s *session) heardWithin(d time.Duration) bool {
	last := s.lastHeard.Load()
	return last != nil && time.Since(*last) < d
}

// beat sends heartbeats until the connection ends. They are datagrams (RFC 9221), which the peer
// acknowledges and drops. quic-go's own keep-alive is a packet too small to be answered with a stateless
// reset, and doesn't tell whether the peer was heard.
func (s *session) beat() {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	unused := 0
	received := s.conn.ConnectionStats().PacketsReceived
	for {
		select {
		case <-tick.C:
		case <-s.conn.Context().Done():
			return
		}
		if now := s.conn.ConnectionStats().PacketsReceived; now != received {
			received = now
			s.heard()
		}
		if unused++; !s.retired.Load() || s.streams.Load() > 0 {
			unused = 0
		}
		if unused > lingers {
			s.close("replaced")
			return
		}
		_ = s.conn.SendDatagram(make([]byte, headerSize)) // its error is that the connection has ended
	}
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
	var header [headerSize]byte
	_ = stream.SetReadDeadline(time.Now().Add(headerTimeout))
	if _, err := io.ReadFull(stream, header[:]); err != nil {
		refuse(codeNoHeader)
		return
	}
	_ = stream.SetReadDeadline(time.Time{})
	s.heard()
	if s.peer == "" && Kind(header[0]) != Enrol {
		refuse(codeUnknownKind)
		return
	}
	if Kind(header[0]) == padding {
		if _, err := stream.Write([]byte{accepted}); err == nil {
			swallow(stream)
		}
		return
	}
	l := s.transport.listening(Kind(header[0]))
	if l == nil {
		refuse(codeUnknownKind)
		return
	}
	c := newConn(s, stream, Kind(header[0]))
	c.greeted.Store(true)
	// A peer that has said all and closed the stream reads no answer any more; what it said is served all the same.
	var unwanted *quic.StreamError
	if _, err := stream.Write([]byte{accepted}); err != nil && !errors.As(err, &unwanted) {
		c.Reset(codeNoHeader)
	} else if !l.offer(c) {
		c.Reset(codeBusy)
	}
}

// open opens a stream and sends its kind. The peer's answer is read by the Conn.
func (s *session) open(ctx context.Context, kind Kind) (*Conn, error) {
	stream, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write(append([]byte{byte(kind)}, make([]byte, headerSize-1)...)); err != nil {
		return nil, err
	}
	return newConn(s, stream, kind), nil
}

// perPacket is what UDP and IP add to each of the session's packets.
func (s *session) perPacket() uint64 {
	if addr, ok := s.conn.RemoteAddr().(*net.UDPAddr); ok && addr.IP.To4() == nil {
		return perPacketIPv6
	}
	return perPacketIPv4
}
