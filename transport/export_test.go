package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"time"
)

// TLS returns what this identity speaks to want, for peers that the tests make by hand.
func (id *Identity) TLS(want string) *tls.Config { return id.tlsConfig(want) }

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
	path := filepath.Join(dir, node, nodeCertFile)
	return replace(path, func(draft string) error { return ca.issue(draft, as, key.Public(), until) })
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
