package api

import (
	"context"
	"time"
)

// Enrolment makes, shows and revokes the tokens with which hosts join the mesh.
type Enrolment interface {
	CreateToken(ctx context.Context, o TokenOptions) (NewToken, error)
	// ListTokens returns the tokens by their ids, those that expired in the last week among them.
	ListTokens(ctx context.Context) ([]Token, error)
	// RevokeToken ends a token before its time. Nodes that joined with it stay.
	RevokeToken(ctx context.Context, id string) (Token, error)
}

// TokenOptions say whom a new token admits.
type TokenOptions struct {
	Server   bool          // servers; otherwise plain nodes
	Node     string        // the only name that it admits; "" is any
	Uses     int           // how many nodes
	Lifetime time.Duration // for how long
}

// Token is a token without its secret.
type Token struct {
	ID       string     `json:"id"`
	Server   bool       `json:"server"`
	Node     string     `json:"node"`
	Uses     int        `json:"uses"`
	UsesLeft int        `json:"uses_left"`
	Created  time.Time  `json:"created"`
	Expires  time.Time  `json:"expires"`
	State    TokenState `json:"state"`
	Reason   string     `json:"reason"` // why it was revoked
	UsedBy   []string   `json:"used_by"`
}

// TokenState says whether a token admits anybody.
type TokenState string

// The states of a token.
const (
	TokenUsable  TokenState = "usable"
	TokenUsed    TokenState = "used"
	TokenExpired TokenState = "expired"
	TokenRevoked TokenState = "revoked"
)

// NewToken is a token that was just made.
type NewToken struct {
	Token
	Secret  string // the whole token, which is nowhere else
	Address string // of a node that takes new ones
}
