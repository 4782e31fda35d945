package transport

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/quic-go/quic-go"
)

// TLS returns what this identity speaks to want, for peers that the tests make by hand.
func (id *Identity) TLS(want string) *tls.Config {
	return id.tlsConfig(want, func(subject) string { return "" })
}

// Reissue writes a certificate for the key of dir/node that ends at until and names another node and mesh,
// if as and mesh are not empty.
func Reissue(dir, node, as, mesh string, until time.Time) error {
	ca, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	if mesh != "" {
		ca.mesh = mesh
	}
	if as == "" {
		as = node
	}
	key, err := readKey(filepath.Join(dir, node, nodeKeyFile))
	if err != nil {
		return err
	}
	der, err := ca.certify(subject{mesh: ca.mesh, node: as}, key.Public(), until)
	if err != nil {
		return err
	}
	return replaceCertificate(filepath.Join(dir, node, nodeCertFile), der)
}

// LoadForged loads an identity without the checks of LoadIdentity, for those who mean harm. It trusts the
// same authority as friend.
func LoadForged(dir string, friend *Identity) (*Identity, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, nodeCertFile), filepath.Join(dir, nodeKeyFile))
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, err
	}
	name, err := nameOf(leaf)
	return &Identity{Mesh: name.mesh, Node: name.node, Expires: leaf.NotAfter, certificate: pair, roots: friend.roots}, err
}

// VerifyAt is what a host with the token says at that time of the node with that identity.
func (t Token) VerifyAt(id *Identity, now time.Time) *JoinError {
	_, err := t.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{id.certificate.Leaf, id.ca}}, now)
	return err
}

// Certify signs with the authority in dir.
func Certify(dir, node string, generation uint64, key crypto.PublicKey) ([]byte, error) {
	ca, err := loadAuthority(dir)
	if err != nil {
		return nil, err
	}
	return ca.Certify(node, generation, key)
}

// PutCertificate replaces the certificate of an identity directory without looking at it.
func PutCertificate(dir string, der []byte) error {
	return replaceCertificate(filepath.Join(dir, nodeCertFile), der)
}

// NamesANode says whether a certificate with that URI is a node's.
func NamesANode(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil {
		return false
	}
	_, err = nameOf(&x509.Certificate{URIs: []*url.URL{u}})
	return err == nil
}

// PeerExpires returns when the certificate that a conn's peer has proven itself with expires.
func PeerExpires(c *Conn) time.Time {
	return c.session.conn.ConnectionState().TLS.PeerCertificates[0].NotAfter
}

// Knock opens a stream of a kind as a stranger, and returns why it was refused.
func Knock(ctx context.Context, token Token, addr netip.AddrPort, kind Kind) error {
	var p proof
	config := token.tlsConfig(func(got proof, _ *JoinError) { p = got })
	conn, err := quic.DialAddr(ctx, addr.String(), config, quicConfig(-1))
	if err != nil {
		return err
	}
	defer conn.CloseWithError(codeClosed, "done")
	stream, err := (&session{conn: conn, transport: &Transport{}, peer: p.node}).open(ctx, kind)
	if err != nil {
		return err
	}
	return stream.awaitGreeting(ctx)
}

// Gate is a gate for strangers.
type Gate struct{ gate }

// Enter and Leave are those of the gate.
func (g *Gate) Enter(from netip.Addr, now time.Time) error { return g.enter(from, now) }
func (g *Gate) Leave()                                     { g.leave() }

// The limits of a gate.
const (
	MaxStrangers         = maxStrangers
	StrangerBurst        = strangerBurst
	StrangerEvery        = strangerEvery
	MaxStrangerAddresses = maxStrangerAddresses
)

// Backlog is the length of a listener's queue.
const Backlog = backlog

// Distrust makes t forget that it heard from a node lately.
func Distrust(t *Transport, node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sessions {
		if s.peer == node {
			s.lastHeard.Store(nil)
		}
	}
}

// Sessions returns the number of connections that t has.
func Sessions(t *Transport) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sessions)
}

// CongestionWindow returns the largest congestion window of t's connections, in bytes.
func CongestionWindow(t *Transport) (largest uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sessions {
		largest = max(largest, s.conn.ConnectionStats().CongestionWindow)
	}
	return largest
}

// ShrinkWindow makes t believe that its warm connections once had four times the window they have.
func ShrinkWindow(t *Transport) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sessions {
		if s.warmWindow.Load() > 0 {
			s.warmWindow.Store(4 * s.conn.ConnectionStats().CongestionWindow)
		}
	}
}

// AwaitSessions waits until t has n connections, or ctx ends.
func AwaitSessions(ctx context.Context, t *Transport, n int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for Sessions(t) != n && ctx.Err() == nil {
		<-tick.C
	}
}
