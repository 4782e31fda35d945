package api

import (
	"context"
	"time"

	droverv1 "github.com/drover-mesh/drover/agent/api/v1"
)

type enrolmentHandler struct{ *handler }

func (h enrolmentHandler) CreateToken(ctx context.Context, req *droverv1.CreateTokenRequest) (*droverv1.CreateTokenResponse, error) {
	made, err := h.backend.CreateToken(ctx, TokenOptions{
		Server: req.GetServer(), Node: req.GetNode(), Uses: int(req.GetUses()), Lifetime: time.Duration(req.GetLifetimeSeconds()) * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return &droverv1.CreateTokenResponse{Token: tokenToProto(made.Token), Secret: made.Secret, Address: made.Address}, nil
}

func (h enrolmentHandler) ListTokens(ctx context.Context, _ *droverv1.ListTokensRequest) (*droverv1.ListTokensResponse, error) {
	tokens, err := h.backend.ListTokens(ctx)
	if err != nil {
		return nil, err
	}
	return &droverv1.ListTokensResponse{Tokens: each(tokens, tokenToProto)}, nil
}

func (h enrolmentHandler) RevokeToken(ctx context.Context, req *droverv1.RevokeTokenRequest) (*droverv1.RevokeTokenResponse, error) {
	token, err := h.backend.RevokeToken(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &droverv1.RevokeTokenResponse{Token: tokenToProto(token)}, nil
}

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, o TokenOptions) (NewToken, error) {
	resp, err := c.enrolment.CreateToken(ctx, &droverv1.CreateTokenRequest{
		Server: o.Server, Node: o.Node, Uses: int32(o.Uses), LifetimeSeconds: int64(o.Lifetime / time.Second),
	})
	return NewToken{Token: tokenFromProto(resp.GetToken()), Secret: resp.GetSecret(), Address: resp.GetAddress()}, c.wrap(err)
}

// ListTokens returns the tokens.
func (c *Client) ListTokens(ctx context.Context) ([]Token, error) {
	resp, err := c.enrolment.ListTokens(ctx, &droverv1.ListTokensRequest{})
	return each(resp.GetTokens(), tokenFromProto), c.wrap(err)
}

// RevokeToken ends a token before its time.
func (c *Client) RevokeToken(ctx context.Context, id string) (Token, error) {
	resp, err := c.enrolment.RevokeToken(ctx, &droverv1.RevokeTokenRequest{Id: id})
	return tokenFromProto(resp.GetToken()), c.wrap(err)
}

func tokenToProto(t Token) *droverv1.Token {
	return &droverv1.Token{
		Id: t.ID, Server: t.Server, Node: t.Node, Uses: int32(t.Uses), UsesLeft: int32(t.UsesLeft), Created: timeToProto(t.Created),
		Expires: timeToProto(t.Expires), State: string(t.State), Reason: t.Reason, UsedBy: t.UsedBy,
	}
}

func tokenFromProto(t *droverv1.Token) Token {
	return Token{
		ID: t.GetId(), Server: t.GetServer(), Node: t.GetNode(), Uses: int(t.GetUses()), UsesLeft: int(t.GetUsesLeft()),
		Created: timeFromProto(t.GetCreated()), Expires: timeFromProto(t.GetExpires()), State: TokenState(t.GetState()),
		Reason: t.GetReason(), UsedBy: append([]string{}, t.GetUsedBy()...),
	}
}
