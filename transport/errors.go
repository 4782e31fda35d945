package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/quic-go/quic-go"
)

// ErrUnreachable says that no connection to a node could be made: what was to be sent was never sent.
var ErrUnreachable = errors.New("node can't be reached")

// ErrRefused says that a node was reached and takes no stream of that kind, now or at all.
var ErrRefused = errors.New("stream refused")

// ErrLost says that the connection broke under a stream: the node's agent died, restarted or closed, or
// the link was cut. Whether the node got what was last written is not known.
var ErrLost = errors.New("connection lost")

// ResetError says that one side abandoned a stream, the connection being well.
type ResetError struct {
	Peer string // the node at the other end
	Code uint64 // as given to Conn.Reset; codes below FirstUserCode are the transport's own
}

func (e *ResetError) Error() string {
	return fmt.Sprintf("node %s reset the stream (code %d)", e.Peer, e.Code)
}

// streamError says in our terms what quic-go says of a stream. Errors that net.Conn's users know (io.EOF,
// os.ErrDeadlineExceeded, net.ErrClosed) are returned so that they recognise them.
func (c *Conn) streamError(err error) error {
	var reset *quic.StreamError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return io.EOF
	case c.closed.Load(), errors.Is(err, quic.ErrStreamClosed):
		return net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case errors.As(err, &reset):
		if !reset.Remote {
			return net.ErrClosed
		}
		switch reset.ErrorCode {
		case codeUnknownKind:
			return fmt.Errorf("%w: node %s doesn't serve %s streams", ErrRefused, c.Peer(), c.kind)
		case codeBusy:
			return fmt.Errorf("%w: node %s has too many %s streams waiting", ErrRefused, c.Peer(), c.kind)
		}
		return &ResetError{Peer: c.Peer(), Code: uint64(reset.ErrorCode)}
	default:
		return &lostError{peer: c.Peer(), cause: err}
	}
}

// lostError is ErrLost with its cause. It doesn't unwrap to the cause, since quic-go's errors claim to be
// time-outs or closed connections, which servers of net.Conn take for their own deadline or Close.
type lostError struct {
	peer  string
	cause error
}

func (e *lostError) Is(target error) bool { return target == ErrLost }

func (e *lostError) Error() string {
	return fmt.Sprintf("connection to node %s lost: %s", e.peer, explain(e.cause))
}

// explain turns quic-go's connection errors into sentences.
func explain(err error) string {
	var (
		idle  *quic.IdleTimeoutError
		shake *quic.HandshakeTimeoutError
		reset *quic.StatelessResetError
		app   *quic.ApplicationError
		tls   *quic.TransportError
	)
	switch {
	case errors.As(err, &idle):
		return fmt.Sprintf("nothing heard for %v", idleTimeout)
	case errors.As(err, &shake):
		return fmt.Sprintf("no answer within %v", dialTimeout)
	case errors.As(err, &reset):
		return "its agent was restarted"
	case errors.As(err, &app) && app.ErrorMessage != "":
		return app.ErrorMessage
	case errors.As(err, &tls) && tls.ErrorCode.IsCryptoError() && tls.Remote:
		return "it refused this node's certificate or protocol, and its log says why (if this node was removed: drover mesh leave, then join anew): " + tls.Error()
	case errors.As(err, &tls) && tls.ErrorCode.IsCryptoError() && tls.ErrorMessage != "":
		return tls.ErrorMessage
	default:
		return err.Error()
	}
}
