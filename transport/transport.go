package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

const (
	// dialTimeout bounds Dial, so that a node that is down costs no more.
	dialTimeout = 5 * time.Second

	// idleTimeout is the least that quic-go accepts (its protocol.MinRemoteIdleTimeout). It is counted from
	// the first packet sent after the last one received (RFC 9000, section 10.1), so at most heartbeat later.
	idleTimeout = 5 * time.Second
	// heartbeat is how often each end of a connection sends something, also when it has nothing to say.
	heartbeat = time.Second

	// DeadAfter is how long a cut link or a dead peer can stay unnoticed.
	DeadAfter = idleTimeout + heartbeat
)

// Flow control windows: 1 Gbit/s x 100 ms are 12.5 MB in flight. They start large, since a move can't wait
// for their growth.
const (
	initialStreamWindow     = 8 << 20
	initialConnectionWindow = 16 << 20
	maxStreamWindow         = 32 << 20
	maxConnectionWindow     = 64 << 20
	maxStreams              = 4096 // open at once on a connection, a direction
)

// connectionIDLength makes collisions between the connections of an agent and those of its predecessor, to
// which stateless resets are still answered, improbable. quic-go's default is 4.
const connectionIDLength = 8

// verifiedHandshakes is how many handshakes a second are taken before source addresses are verified
// (Retry, RFC 9000, section 8.1.2), which costs those who dial a round trip.
const verifiedHandshakes = 64

// Config is what a [Transport] needs. All but BulkRate and Revoked is required.
type Config struct {
	Addr     netip.AddrPort                            // UDP address to listen on; port 0 picks one
	Identity *Identity                                 // of this node
	Resolve  func(node string) (netip.AddrPort, error) // finds a peer's UDP address; must not block long
	BulkRate int64                                     // of all Bulk streams together, bytes/s; 0: unlimited
	Log      *slog.Logger
	// Revoked says why a node's certificates of that generation are void, or returns "". It must not block.
	Revoked func(node string, generation uint64) (reason string)
}

// Transport is a node's end of all its connections. Its methods may be called concurrently.
type Transport struct {
	config  Config
	socket  *net.UDPConn
	quic    *quic.Transport
	server  *quic.Listener
	limiter *rate.Limiter // nil: unlimited
	gate    gate          // for strangers

	identity atomic.Pointer[Identity]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine of the transport

	mu        sync.Mutex
	closed    bool
	dialled   map[route]*dialling
	sessions  map[*session]struct{} // alive, dialled and accepted
	past      map[string]*Stats     // by peer: totals of the sessions that are gone
	listeners map[Kind]*listener
}

// Listen opens the socket and accepts connections from nodes of the same mesh. The caller closes the
// transport.
func Listen(config Config) (*Transport, error) {
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(config.Addr))
	if err != nil {
		return nil, fmt.Errorf("opening the QUIC socket: %w", err)
	}
	if err := growBuffers(socket); err != nil {
		config.Log.Warn("UDP buffers are small, transfers may be slow", "error", err,
			"cure", fmt.Sprintf("run as root, or sysctl -w net.core.rmem_max=%[1]d net.core.wmem_max=%[1]d", socketBuffer))
	}
	if left := time.Until(config.Identity.Expires); left < NodeLifetime/6 {
		config.Log.Warn("this node's certificate needs to be renewed", "node", config.Identity.Node, "expires", config.Identity.Expires)
	}
	handshakes := rate.NewLimiter(verifiedHandshakes, verifiedHandshakes)
	resetKey := quic.StatelessResetKey(config.Identity.resetKey)
	t := &Transport{
		config: config,
		socket: socket,
		quic: &quic.Transport{
			Conn:                socket,
			ConnectionIDLength:  connectionIDLength,
			StatelessResetKey:   &resetKey,
			VerifySourceAddress: func(net.Addr) bool { return !handshakes.Allow() },
		},
		gate:      gate{turned: rate.Sometimes{Interval: time.Second}},
		dialled:   map[route]*dialling{},
		sessions:  map[*session]struct{}{},
		past:      map[string]*Stats{},
		listeners: map[Kind]*listener{},
	}
	if config.BulkRate > 0 {
		t.limiter = rate.NewLimiter(rate.Limit(config.BulkRate), bulkChunk(config.BulkRate))
	}
	t.identity.Store(config.Identity)
	t.server, err = t.quic.Listen(t.serverTLS(), quicConfig(maxStreams))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening for QUIC: %w", err), t.quic.Close(), socket.Close())
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(t.acceptConnections)
	return t, nil
}

func quicConfig(incomingStreams int64) *quic.Config {
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		HandshakeIdleTimeout:           dialTimeout,
		MaxIdleTimeout:                 idleTimeout,
		EnableDatagrams:                true, // the heartbeat
		InitialStreamReceiveWindow:     initialStreamWindow,
		InitialConnectionReceiveWindow: initialConnectionWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		MaxConnectionReceiveWindow:     maxConnectionWindow,
		MaxIncomingStreams:             incomingStreams,
		MaxIncomingUniStreams:          -1,
	}
}

// Addr returns the UDP address on which the transport listens.
func (t *Transport) Addr() netip.AddrPort {
	addr := t.socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// Node returns the name of this node.
func (t *Transport) Node() string { return t.config.Identity.Node }

// Identity returns the identity that new connections prove this node with.
func (t *Transport) Identity() *Identity { return t.identity.Load() }

// SetIdentity lets connections that are made from now on prove this node with another certificate. Those that
// are there go on. The identity is that of Config but for its certificate, see [Identity.Renew].
func (t *Transport) SetIdentity(id *Identity) error {
	if was := t.identity.Load(); id.subject() != was.subject() || id.resetKey != was.resetKey {
		return fmt.Errorf("the identity of %s with another key can't take the place of that of %s", id.subject().uri(), was.subject().uri())
	}
	t.identity.Store(id)
	return nil
}

// revoked is Config.Revoked.
func (t *Transport) revoked(s subject) string {
	if t.config.Revoked == nil {
		return ""
	}
	return t.config.Revoked(s.node, s.generation)
}

// CloseRevoked ends the connections whose certificates Config.Revoked says are void by now.
func (t *Transport) CloseRevoked() {
	t.mu.Lock()
	sessions := slices.Collect(maps.Keys(t.sessions))
	t.mu.Unlock()
	for _, s := range sessions {
		if reason := t.revoked(s.subject); s.peer != "" && reason != "" {
			t.config.Log.Warn("closing a connection", "peer", s.peer, "reason", reason)
			s.close("its certificate is revoked there: " + reason)
		}
	}
}

// Close tells all peers (CONNECTION_CLOSE), ends all streams with net.ErrClosed, listeners included, and
// waits for the transport's goroutines. Data written but not yet delivered is lost: users close their
// streams first. Closing twice is harmless.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		t.wg.Wait()
		return nil
	}
	t.closed = true
	listeners := t.listeners
	t.listeners = map[Kind]*listener{}
	t.mu.Unlock()

	t.cancel()
	for _, l := range listeners {
		l.shut()
	}
	err := t.server.Close()
	t.mu.Lock()
	sessions := slices.Collect(maps.Keys(t.sessions))
	t.mu.Unlock()
	for _, s := range sessions {
		s.close("its agent shut down")
	}
	t.wg.Wait()
	return errors.Join(err, t.quic.Close(), t.socket.Close())
}

func (t *Transport) acceptConnections() {
	for {
		conn, err := t.server.Accept(t.ctx)
		if err != nil {
			if t.ctx.Err() == nil {
				t.config.Log.Error("accepting QUIC connections ended", "error", err)
			}
			return
		}
		if conn.ConnectionState().TLS.NegotiatedProtocol == joinALPN {
			t.wg.Go(func() { t.acceptStranger(conn) })
			continue
		}
		name, err := nameOf(conn.ConnectionState().TLS.PeerCertificates[0])
		if err != nil { // verify has seen the same certificate
			_ = conn.CloseWithError(codeClosed, "no name")
			continue
		}
		s := &session{transport: t, conn: conn, peer: name.node, subject: name}
		if !t.adopt(s) {
			return
		}
		t.wg.Go(s.acceptStreams)
	}
}

// adopt takes a session into the books until it dies. It returns false, having closed it, when the
// transport is closed.
func (t *Transport) adopt(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		s.close("its agent shut down")
		return false
	}
	t.sessions[s] = struct{}{}
	t.wg.Go(func() {
		s.beat()
		t.bury(s)
	})
	return true
}

func (t *Transport) bury(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s)
	past := t.past[s.peer]
	if past == nil {
		past = &Stats{}
		t.past[s.peer] = past
	}
	past.add(s)
	t.config.Log.Debug("connection ended", "peer", s.peer, "cause", explain(context.Cause(s.conn.Context())))
}
