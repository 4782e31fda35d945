package transport

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// joinAttempt bounds one try to be enrolled, in which the node asked may wait for its quorum.
	joinAttempt = 20 * time.Second
	// joinPause is the least between two tries, see strangerEvery.
	joinPause = 2 * time.Second
	// maxPlaces bounds the nodes that an answer may refer to.
	maxPlaces = 16
)

// JoinConfig says which mesh a host is to join, and as whom.
type JoinConfig struct {
	Token Token
	Addr  netip.AddrPort // QUIC of any node of the mesh
	Node  string         // name of the new node
	Key   crypto.Signer  // of the new node, Ed25519; it never leaves the host
	// Waiting is told why the mesh could not be joined yet, before each further try; it may be nil.
	Waiting func(why string)
}

// JoinError says why a host could not join.
type JoinError struct {
	Refusal
	// Unknown says that the token may have been used, its answer being lost: to join again with the same
	// key goes on from there.
	Unknown bool
}

func (e *JoinError) Error() string { return e.Why }

const (
	unavailable        = "unavailable"
	failedPrecondition = "failed_precondition"
)

func refusal(code, cure, why string, args ...any) *JoinError {
	return &JoinError{Refusal: Refusal{Code: code, Why: fmt.Sprintf(why, args...), Cure: cure}}
}

// Join has a host admitted to a mesh, and returns what it is given. The node asked proves that it is one of
// the mesh that made the token, before it learns the token's secret. Join tries until ctx ends where that may
// help: a node that doesn't answer, or is busy, or has no leader. All its errors are of type *[JoinError].
func Join(ctx context.Context, c JoinConfig) (*Admission, error) {
	request, err := requestCertificate(c.Node, c.Key)
	if err != nil {
		return nil, refusal("internal", "", "%s", err)
	}
	j := &joining{JoinConfig: c, request: request, places: []Place{{Addr: c.Addr}}}
	for {
		admission, failure := j.round(ctx)
		if failure == nil {
			return admission, nil
		}
		failure.Unknown = j.unknown
		if failure.Code != unavailable {
			return nil, failure
		}
		if c.Waiting != nil && ctx.Err() == nil {
			c.Waiting(failure.Why)
		}
		select {
		case <-ctx.Done():
			return nil, failure
		case <-time.After(joinPause):
		}
	}
}

// joining is a Join while it goes on.
type joining struct {
	JoinConfig
	request []byte
	places  []Place // to ask
	sent    bool    // that the last one asked has the request
	unknown bool    // what became of a request
}

// round asks each place once, until one admits the host or refuses it for good. Places that an answer refers
// to are asked in the same round, and in those after it.
func (j *joining) round(ctx context.Context) (*Admission, *JoinError) {
	var last *JoinError
	for i := 0; i < len(j.places); i++ {
		place := j.places[i]
		answer, proof, err := j.ask(ctx, place.Addr)
		if err != nil {
			j.unknown = j.unknown || j.sent
		} else {
			switch {
			case answer.Refusal != nil:
				err = &JoinError{Refusal: *answer.Refusal}
				j.unknown = j.unknown || err.Code == unavailable
			case len(answer.Certificate) == 0:
				err = refusal(unavailable, "", "node %s refers to nodes that have the key of the mesh's authority, and none of them answers", proof.node)
				j.refer(answer.Elsewhere)
			default:
				return j.admit(answer, proof)
			}
		}
		if err.Code != unavailable {
			return nil, err
		}
		if last == nil || j.sent { // who refers elsewhere has less to say than who was asked there
			last = err
		}
	}
	return nil, last
}

func (j *joining) refer(places []Place) {
	for _, p := range places {
		known := slices.ContainsFunc(j.places, func(q Place) bool { return q.Addr == p.Addr })
		if !known && p.Addr.IsValid() && len(j.places) < maxPlaces {
			j.places = append(j.places, p)
		}
	}
}

// proof is who has answered a stranger.
type proof struct {
	subject
	authority *x509.Certificate
}

// ask sends the request to a node, and returns its answer.
func (j *joining) ask(ctx context.Context, addr netip.AddrPort) (EnrolAnswer, proof, *JoinError) {
	j.sent = false
	ctx, cancel := context.WithTimeout(ctx, joinAttempt)
	defer cancel()
	fail := func(err error) (EnrolAnswer, proof, *JoinError) {
		return EnrolAnswer{}, proof{}, refusal(unavailable, "", "asking %s: %s", addr, err)
	}
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return fail(err)
	}
	_ = growBuffers(socket) // some kilobytes will pass
	transport := &quic.Transport{Conn: socket}
	defer func() { _ = errors.Join(transport.Close(), socket.Close()) }()
	var p proof
	var doubt *JoinError
	config := j.Token.tlsConfig(func(got proof, err *JoinError) { p, doubt = got, err })
	conn, err := transport.Dial(ctx, net.UDPAddrFromAddrPort(addr), config, quicConfig(-1))
	if doubt != nil {
		return EnrolAnswer{}, proof{}, doubt
	}
	if err != nil {
		return EnrolAnswer{}, proof{}, explainDial(addr, err)
	}
	defer func() { _ = conn.CloseWithError(codeClosed, "done") }()
	s := &session{conn: conn, peer: p.node, subject: p.subject}
	stream, err := s.open(ctx, Enrol)
	if err != nil {
		return fail(errors.New(explain(err)))
	}
	defer context.AfterFunc(ctx, func() { _ = conn.CloseWithError(codeClosed, "no answer in time") })()
	if err := stream.awaitGreeting(ctx); err != nil {
		return fail(err)
	}
	j.sent = true
	if err := (EnrolRequest{Secret: j.Token.Secret[:], Node: j.Node, Request: j.request, Time: time.Now()}).Write(stream); err != nil {
		return fail(err)
	}
	answer, err := ReadEnrolAnswer(stream)
	if err != nil {
		return fail(err)
	}
	return answer, p, nil
}

// explainDial says why a node can't be asked.
func explainDial(addr netip.AddrPort, err error) *JoinError {
	var app *quic.ApplicationError
	var tls *quic.TransportError
	switch {
	case errors.As(err, &app) && app.Remote:
		return refusal(unavailable, "", "%s: %s", addr, app.ErrorMessage)
	case errors.As(err, &tls) && tls.ErrorCode.IsCryptoError() && tls.Remote:
		return refusal(failedPrecondition, "name the address of a node of the mesh; and run the same version of drover on each node",
			"what answers at %s is no drover agent that takes new nodes: %s", addr, tls.Error())
	}
	return refusal(unavailable, fmt.Sprintf("is the agent there running, and can this host reach it by UDP port %d?", addr.Port()),
		"%s does not answer: %s", addr, explain(err))
}

// tlsConfig is that of a host with a token. It tells verified what the node at the other end has proven.
func (t Token) tlsConfig(verified func(proof, *JoinError)) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{joinALPN},
		InsecureSkipVerify:     true, //nolint:gosec // VerifyConnection does it
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			p, err := t.verify(state, time.Now())
			verified(p, err)
			if err != nil {
				return err
			}
			return nil
		},
	}
}

// verify makes sure that the other end is a node of the mesh that made the token.
func (t Token) verify(state tls.ConnectionState, now time.Time) (proof, *JoinError) {
	const cure = "look at the address, and at where the token comes from; drover mesh token create makes one on a node of the mesh"
	if len(state.PeerCertificates) != 2 {
		return proof{}, refusal(failedPrecondition, cure, "what answers there is no node of a drover mesh: it presents %d certificates, not 2", len(state.PeerCertificates))
	}
	leaf, ca := state.PeerCertificates[0], state.PeerCertificates[1]
	if got := fingerprint(ca); got != t.Authority {
		return proof{}, refusal(failedPrecondition, cure,
			"what answers there is not of the mesh that made the token, or somebody stands in between: its authority has the fingerprint %x, the token is of %x", got[:8], t.Authority[:8])
	}
	name, err := nameOf(leaf)
	if err != nil {
		return proof{}, refusal(failedPrecondition, cure, "what answers there is no node: %s", err)
	}
	if err := checkTime(name.node, leaf, now); err != nil {
		return proof{}, refusal(failedPrecondition, "timedatectl shows and sets the clock", "%s (this host says that it is %s)", err, now.UTC().Format(time.RFC3339))
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if err := checkSignature(leaf, roots, now); err != nil {
		return proof{}, refusal(failedPrecondition, cure, "the certificate of node %s was not signed by the authority of the mesh: %s", name.node, err)
	}
	if mesh, err := meshOf(ca); err != nil || mesh != name.mesh {
		return proof{}, refusal(failedPrecondition, cure, "node %s is not of the mesh of its authority", name.node)
	}
	return proof{subject: name, authority: ca}, nil
}
