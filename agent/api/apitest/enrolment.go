package apitest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-mesh/drover/agent/api"
)

// CreateToken answers with a token made at Created, and keeps it.
func (b *Backend) CreateToken(_ context.Context, o api.TokenOptions) (api.NewToken, error) {
	if err := b.call(fmt.Sprintf("create token %+v", o)); err != nil {
		return api.NewToken{}, err
	}
	t := api.Token{
		ID: "k3v7qd2a", Server: o.Server, Node: o.Node, Uses: o.Uses, UsesLeft: o.Uses, Created: Created,
		Expires: Created.Add(o.Lifetime).Truncate(time.Second), State: api.TokenUsable, UsedBy: []string{},
	}
	return api.NewToken{Token: t, Secret: "drover1-abc", Address: "10.77.1.1:7400"}, nil
}

// ListTokens answers from Tokens.
func (b *Backend) ListTokens(context.Context) ([]api.Token, error) { return b.Tokens, b.Err }

// RevokeToken answers from Tokens.
func (b *Backend) RevokeToken(_ context.Context, id string) (api.Token, error) {
	for _, t := range b.Tokens {
		if t.ID == id {
			return t, b.call("revoke token " + id)
		}
	}
	return api.Token{}, errors.Join(b.Err, api.Errorf(api.NotFound, "", "there is no token %q", id))
}
