package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// joinALPN is the protocol of hosts that have no certificate yet: one stream of kind Enrol a connection.
const joinALPN = "drover-join/1"

const (
	// maxStrangers may be connected at once. What each may have sent unread is bounded by a connection's
	// flow control window.
	maxStrangers = 8
	// strangerPatience is how long each may take.
	strangerPatience = 30 * time.Second
	// strangerBurst and strangerEvery limit how often hosts of one address may try: for an operator who
	// brings up a rack behind one router, and against those who guess.
	strangerBurst = 20
	strangerEvery = 3 * time.Second
	// maxStrangerAddresses are remembered; while that many try, no others may.
	maxStrangerAddresses = 1024
)

// gate limits strangers. The zero gate is open.
type gate struct {
	mu      sync.Mutex
	inside  int
	limiter map[netip.Prefix]*rate.Limiter
	turned  rate.Sometimes // logs who was turned away
}

var (
	errTooOften = errors.New("too many attempts to join from this address: try again in a minute")
	errBusy     = errors.New("too many hosts are joining just now: try again in some seconds")
)

// enter lets a stranger in, who must leave again, or says why not.
func (g *gate) enter(from netip.Addr, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside >= maxStrangers {
		return errBusy
	}
	bits := 32
	if from = from.Unmap(); from.Is6() {
		bits = 64 // what one host may have
	}
	network, err := from.Prefix(bits)
	if err != nil {
		return err
	}
	limiter := g.limiter[network]
	if limiter == nil {
		if len(g.limiter) >= maxStrangerAddresses {
			g.forget(now)
		}
		if len(g.limiter) >= maxStrangerAddresses {
			return errBusy
		}
		if g.limiter == nil {
			g.limiter = map[netip.Prefix]*rate.Limiter{}
		}
		limiter = rate.NewLimiter(rate.Every(strangerEvery), strangerBurst)
		g.limiter[network] = limiter
	}
	if !limiter.AllowN(now, 1) {
		return errTooOften
	}
	g.inside++
	return nil
}

// forget drops the addresses from which nobody has tried for so long that it makes no difference.
func (g *gate) forget(now time.Time) {
	for network, limiter := range g.limiter {
		if limiter.TokensAt(now) >= strangerBurst {
			delete(g.limiter, network)
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
}

// strangerTLS proves this node to hosts that know no more of the mesh than the fingerprint of its authority,
// whose certificate is therefore sent too, and asks them for no certificate.
func (id *Identity) strangerTLS() *tls.Config {
	chain := id.certificate
	chain.Certificate = [][]byte{id.certificate.Leaf.Raw, id.ca.Raw}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{joinALPN},
		Certificates:           []tls.Certificate{chain},
		SessionTicketsDisabled: true,
	}
}

// acceptStranger serves the one stream of a connection without a certificate, until the stranger closes the
// connection, or has taken too long.
func (t *Transport) acceptStranger(conn *quic.Conn) {
	from := conn.RemoteAddr()
	if err := t.gate.enter(addrOf(from), time.Now()); err != nil {
		t.gate.turned.Do(func() { t.config.Log.Warn("turned a joining host away", "from", from, "reason", err) })
		_ = conn.CloseWithError(codeBusy, err.Error())
		return
	}
	defer t.gate.leave()
	s := &session{transport: t, conn: conn}
	if !t.adopt(s) {
		return
	}
	ctx, cancel := context.WithTimeout(t.ctx, strangerPatience)
	defer cancel()
	if stream, err := conn.AcceptStream(ctx); err == nil {
		s.acceptStream(stream)
	}
	select {
	case <-conn.Context().Done():
	case <-ctx.Done():
		s.close("it took too long")
	}
}

func addrOf(addr net.Addr) netip.Addr {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return udp.AddrPort().Addr()
	}
	return netip.Addr{}
}
