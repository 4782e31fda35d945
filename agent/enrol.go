package agent

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
)

// enrolPatience bounds an answer to one who asks for a certificate.
const enrolPatience = 15 * time.Second

// enroller gives out certificates, if this node has the key of the mesh's authority: first ones to hosts that have a
// token, new ones to nodes whose old one runs out. Without the key it says who has it.
type enroller struct {
	node     string
	identity func() *transport.Identity
	ledger   ledger
	settings func() transport.Settings // of the mesh, as new nodes need them
	log      *slog.Logger
}

// asker is who wants a certificate.
type asker struct {
	node       string // as proven; "" is a stranger
	generation uint64 // of its certificate
	from       net.Addr
}

// serve answers the streams of a listener until ctx ends, and waits for them.
func (e *enroller) serve(ctx context.Context, ln net.Listener) error {
	return serveStreams(ctx, ln, func(c *transport.Conn) { e.converse(ctx, c) })
}

// converse reads a request and answers it.
func (e *enroller) converse(ctx context.Context, c *transport.Conn) {
	ctx, cancel := context.WithTimeout(ctx, enrolPatience)
	defer cancel()
	_ = c.SetDeadline(time.Now().Add(enrolPatience)) // its error is that of the first read
	who := asker{node: c.Peer(), generation: c.Generation(), from: c.RemoteAddr()}
	var answer transport.EnrolAnswer
	r, err := transport.ReadEnrolRequest(c)
	if err == nil {
		answer, err = e.answer(ctx, who, r)
	}
	if err != nil {
		refused := api.AsError(err)
		e.log.Warn("refused to enrol a node", "from", who.from, "node", r.Node, "token", tokenID(r), "reason", refused.Error())
		answer = transport.EnrolAnswer{Refusal: &transport.Refusal{Code: string(refused.Code), Why: refused.Why, Cure: refused.Cure}}
	}
	if err := answer.Write(c); err != nil {
		e.log.Warn("who wanted to enrol did not wait for the answer", "from", who.from, "node", r.Node, "err", err)
	}
}

func tokenID(r transport.EnrolRequest) string {
	id, _, err := r.Token()
	if err != nil {
		return "none"
	}
	return id
}

// answer decides about a request. Its errors are of type [api.Error].
func (e *enroller) answer(ctx context.Context, who asker, r transport.EnrolRequest) (transport.EnrolAnswer, error) {
	key, err := r.PublicKey()
	if err == nil {
		err = transport.CheckNode(r.Node)
	}
	if err != nil {
		return transport.EnrolAnswer{}, api.Errorf(api.InvalidArgument, "", "%w", err)
	}
	if e.identity().Authority == nil {
		return e.refer()
	}
	if who.node != "" {
		return e.renew(who, r, key)
	}
	return e.admit(ctx, who, r, key)
}

// refer says who can enrol.
func (e *enroller) refer() (transport.EnrolAnswer, error) {
	a := transport.EnrolAnswer{Elsewhere: enrollers(e.ledger.View(), e.node)}
	if len(a.Elsewhere) == 0 {
		return a, errNoAuthority(e.node)
	}
	return a, nil
}

// enrollers are the nodes that can enrol others, but for one.
func enrollers(v state.View, but string) (places []transport.Place) {
	for _, n := range v.Nodes() {
		if n.Enrols && n.Name != but {
			places = append(places, transport.Place{Node: n.Name, Addr: n.Addr})
		}
	}
	return places
}

func errNoAuthority(node string) *api.Error {
	return api.Errorf(api.FailedPrecondition, "", "no node that %s knows has the key of the mesh's authority, so none can enrol another", node).
		WithCure("copy ca.key, from where drover mesh init made it, into the identity directory of a server (mode 600), and restart its agent")
}

// admit lets a host into the mesh that has a token.
func (e *enroller) admit(ctx context.Context, who asker, r transport.EnrolRequest, key ed25519.PublicKey) (transport.EnrolAnswer, error) {
	now := time.Now()
	if why := r.ClockTooFar(now); why != "" {
		return transport.EnrolAnswer{}, api.Errorf(api.FailedPrecondition, "", "%s", why).WithCure("set the clock there: timedatectl shows and sets it")
	}
	id, hash, err := r.Token()
	if err != nil {
		return transport.EnrolAnswer{}, api.Errorf(api.InvalidArgument, "", "%w", err)
	}
	digest, err := transport.KeyDigest(key)
	if err != nil {
		return transport.EnrolAnswer{}, err
	}
	result, err := e.ledger.Propose(ctx, state.UseToken{ID: id, Hash: hash, Node: r.Node, Key: digest, At: now})
	switch {
	case err != nil:
		return transport.EnrolAnswer{}, api.Errorf(api.Unavailable, "", "node %s can't tell the mesh: %w", e.node, err)
	case !result.OK:
		return transport.EnrolAnswer{}, e.refused(id, result)
	case result.Enrolment == nil || result.Enrolment.Key != digest:
		return transport.EnrolAnswer{}, api.Errorf(api.Internal, "", "token %s was used by another host at the same moment", id)
	}
	a, err := e.papers(*result.Enrolment, key)
	if err != nil {
		return transport.EnrolAnswer{}, err
	}
	e.log.Info("enrolled a node", "node", r.Node, "server", result.Enrolment.Server, "generation", result.Enrolment.Generation, "token", id, "from", who.from)
	return a, nil
}

// refused is the mesh's answer to a token that admits nobody.
func (e *enroller) refused(token string, r state.Result) error {
	code := api.FailedPrecondition
	if _, known := e.ledger.View().Token(token); !known {
		code = api.NotFound
	}
	return api.Errorf(code, "", "%s", r.Reason).WithCure(r.Cure)
}

// papers is all that an admitted node needs. A server can admit others in its turn, so that the mesh can grow when the
// node that it began with is gone.
func (e *enroller) papers(en state.Enrolment, key ed25519.PublicKey) (a transport.EnrolAnswer, err error) {
	id := e.identity()
	if a.Certificate, err = id.Authority.Certify(en.Node, en.Generation, key); err != nil {
		return a, err
	}
	if en.Server {
		if a.AuthorityKey, err = id.Authority.Key(); err != nil {
			return a, err
		}
	}
	a.Authority, a.GossipKey = id.AuthorityCertificate(), id.GossipKey
	a.Settings = e.settings()
	a.Settings.Server = en.Server
	return a, nil
}

// renew gives a node a new certificate that is like its old one.
func (e *enroller) renew(who asker, r transport.EnrolRequest, key ed25519.PublicKey) (a transport.EnrolAnswer, err error) {
	if r.Node != who.node {
		return a, api.Errorf(api.InvalidArgument, "", "node %s asks for a certificate of node %s", who.node, r.Node)
	}
	v := e.ledger.View()
	if reason := v.Revoked(who.node, who.generation); reason != "" {
		return a, api.Errorf(api.FailedPrecondition, "", "%s", reason)
	}
	digest, err := transport.KeyDigest(key)
	if err != nil {
		return a, err
	}
	if en, ok := v.Enrolment(who.node); ok && en.Generation == who.generation && en.Key != "" && en.Key != digest {
		return a, api.Errorf(api.FailedPrecondition, "", "node %s enrolled with another key", who.node)
	}
	if a.Certificate, err = e.identity().Authority.Certify(who.node, who.generation, key); err != nil {
		return a, err
	}
	e.log.Info("renewed a certificate", "node", who.node, "generation", who.generation)
	return a, nil
}

// enrol lets nodes in and keeps those out that were removed, until ctx ends.
func (a *agent) enrol(ctx context.Context) {
	log := a.log.With("part", "enrol")
	e := &enroller{
		node: a.config.Node, identity: a.transport.Identity, ledger: a.quorum, settings: a.settings, log: log,
	}
	r := &renewer{dir: a.config.Identity, transport: a.transport, view: a.quorum.View, log: log}
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() {
		if err := e.serve(ctx, a.transport.Listener(transport.Enrol)); err != nil {
			log.Error("enrolling nodes has ended", "err", err)
		}
	})
	parts.Go(func() {
		if a.transport.Identity().Authority == nil { // then the mesh has to say who can sign
			select {
			case <-a.catchUp.done:
			case <-ctx.Done():
			}
		}
		r.keepValid(ctx)
	})
	parts.Go(func() { a.revocations.enforce(ctx, a.quorum, a.transport) })
	parts.Go(func() { a.acquaintances.keep(ctx, a.quorum) })
}

// maxContacts is how many gossip addresses a new node is given to find the others through.
const maxContacts = 8

// settings are those of the mesh.
func (a *agent) settings() transport.Settings {
	v := a.quorum.View()
	s := transport.Settings{
		PodCIDR: a.config.PodCIDR, OverlayVNI: a.config.Overlay.VNI, OverlayPort: a.config.Overlay.Port,
		Gossip: []netip.AddrPort{a.config.Gossip},
	}
	if v.PodCIDR().IsValid() {
		s.PodCIDR = v.PodCIDR()
	}
	for _, n := range v.Nodes() {
		if n.Name != a.config.Node && n.Gossip.IsValid() && len(s.Gossip) < maxContacts {
			s.Gossip = append(s.Gossip, n.Gossip)
		}
	}
	return s
}
