package agent

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
)

// How long a token may live.
const (
	shortestToken = time.Minute
	longestToken  = 30 * 24 * time.Hour
)

// CreateToken implements [api.Enrolment].
func (b *backend) CreateToken(ctx context.Context, o api.TokenOptions) (api.NewToken, error) {
	const what = "making a token"
	if err := checkToken(o); err != nil {
		return api.NewToken{}, err
	}
	addr, err := b.entrance(ctx)
	if err != nil {
		return api.NewToken{}, err
	}
	now := time.Now()
	token := transport.NewToken(b.transport.Identity().Fingerprint())
	made := state.Token{
		ID: token.ID(), Hash: token.Hash(), Server: o.Server, Node: o.Node, Uses: o.Uses, Created: now.UTC(), Expires: now.Add(o.Lifetime).UTC(),
	}
	r, err := b.quorum.Propose(ctx, state.CreateToken{
		ID: made.ID, Hash: made.Hash, Server: made.Server, Node: made.Node, Uses: made.Uses, Created: made.Created, Expires: made.Expires,
	})
	if err != nil {
		return api.NewToken{}, api.Errorf(api.Unavailable, what, "the mesh can't be told: %w", err).WithCure("drover status shows whether the mesh has a leader")
	}
	if !r.OK {
		return api.NewToken{}, api.Errorf(api.FailedPrecondition, what, "%s", r.Reason).WithCure(r.Cure)
	}
	return api.NewToken{Token: describeToken(made, now), Secret: token.String(), Address: addr.String()}, nil
}

func checkToken(o api.TokenOptions) error {
	e := &api.Error{Code: api.InvalidArgument, What: "making a token"}
	if o.Node != "" {
		if err := transport.CheckNode(o.Node); err != nil {
			e.Violations = append(e.Violations, api.Violation{Field: "node", Why: err.Error()})
		}
	}
	if o.Uses < 1 || o.Uses > state.MaxTokenUses {
		e.Violations = append(e.Violations, api.Violation{Field: "uses", Why: fmt.Sprintf("%d is not within 1 to %d", o.Uses, state.MaxTokenUses)})
	} else if o.Node != "" && o.Uses > 1 {
		e.Violations = append(e.Violations, api.Violation{Field: "uses", Why: "only one node can have the name " + o.Node})
	}
	if o.Lifetime < shortestToken || o.Lifetime > longestToken {
		e.Violations = append(e.Violations, api.Violation{Field: "expires", Why: fmt.Sprintf("%v is not within %v to %v", o.Lifetime, shortestToken, longestToken)})
	}
	if len(e.Violations) > 0 {
		return e
	}
	return nil
}

// entrance is the address of a node that takes new ones, best this one.
func (b *backend) entrance(ctx context.Context) (netip.AddrPort, error) {
	if b.transport.Identity().Authority != nil {
		return b.config.Address, nil
	}
	v, err := b.view(ctx, "making a token")
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, p := range enrollers(v, b.config.Node) {
		return p.Addr, nil
	}
	e := errNoAuthority(b.config.Node)
	e.What = "making a token"
	return netip.AddrPort{}, e
}

// ListTokens implements [api.Enrolment].
func (b *backend) ListTokens(ctx context.Context) ([]api.Token, error) {
	// A token that was just made should be among them. Without a leader, what this node knows is better than nothing.
	patience, cancel := context.WithTimeout(ctx, catchUpPatience)
	defer cancel()
	_ = b.quorum.Sync(patience)
	v, err := b.view(ctx, "listing tokens")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	out := []api.Token{}
	for _, t := range v.Tokens() {
		out = append(out, describeToken(t, now))
	}
	return out, nil
}

// RevokeToken implements [api.Enrolment].
func (b *backend) RevokeToken(ctx context.Context, id string) (api.Token, error) {
	what := "revoking token " + id
	r, err := b.quorum.Propose(ctx, state.RevokeToken{ID: id, Reason: "by an operator at " + b.config.Node})
	if err == nil && r.OK {
		err = b.quorum.Sync(ctx)
	}
	if err != nil {
		return api.Token{}, api.Errorf(api.Unavailable, what, "the mesh can't be told: %w", err).WithCure("drover status shows whether the mesh has a leader")
	}
	t, ok := b.quorum.View().Token(id)
	if !r.OK || !ok {
		return api.Token{}, api.Errorf(api.NotFound, what, "the mesh has no such token").WithCure("drover mesh token ls shows the tokens")
	}
	return describeToken(t, time.Now()), nil
}

func describeToken(t state.Token, now time.Time) api.Token {
	out := api.Token{
		ID: t.ID, Server: t.Server, Node: t.Node, Uses: t.Uses, UsesLeft: t.Left(), Created: t.Created, Expires: t.Expires,
		State: api.TokenUsable, Reason: t.Revoked, UsedBy: []string{},
	}
	for _, u := range t.Used {
		out.UsedBy = append(out.UsedBy, u.Node)
	}
	switch {
	case t.Revoked != "":
		out.State = api.TokenRevoked
	case t.Left() < 1:
		out.State = api.TokenUsed
	case !now.Before(t.Expires):
		out.State = api.TokenExpired
	}
	return out
}
