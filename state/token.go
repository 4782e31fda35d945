package state

import (
	"fmt"
	"slices"
	"time"
)

const (
	// MaxTokenUses is how many nodes one token may admit.
	MaxTokenUses = 1000
	// maxTokens is how many tokens the mesh keeps.
	maxTokens = 1000
	// expiredTokens are kept for a week, so that who comes too late is told so.
	expiredTokens = 7 * 24 * time.Hour
)

// A Token lets hosts become nodes of the mesh, a limited number of them for a limited time. Its secret is
// known to those who carry it; the mesh knows only its hash.
type Token struct {
	ID string `json:"id"`
	// Hash is the SHA-256 of the secret.
	Hash Digest `json:"hash"`
	// Server says that it admits servers; otherwise it admits plain nodes.
	Server bool `json:"server,omitempty"`
	// Node is the only name that it admits, or "" for any.
	Node string `json:"node,omitempty"`
	// Uses is how many nodes it admits in all, and Used those that it has admitted. Nobody may modify Used.
	Uses    int        `json:"uses"`
	Used    []TokenUse `json:"used,omitempty"`
	Created time.Time  `json:"created"`
	Expires time.Time  `json:"expires"`
	// Revoked says why it admits nobody any more; "" if it was not revoked.
	Revoked string `json:"revoked,omitempty"`
}

// A TokenUse is a node that a token has admitted.
type TokenUse struct {
	Node string    `json:"node"`
	Key  Digest    `json:"key"`
	At   time.Time `json:"at"`
}

// Left is how many nodes the token may still admit, if it is not expired or revoked.
func (t Token) Left() int { return t.Uses - len(t.Used) }

// usedBy says whether the token has admitted this node with this key.
func (t Token) usedBy(node string, key Digest) bool {
	return slices.ContainsFunc(t.Used, func(u TokenUse) bool { return u.Node == node && u.Key == key })
}

// CreateToken makes a token. All times are the proposer's.
type CreateToken struct {
	ID      string    `json:"id"`
	Hash    Digest    `json:"hash"`
	Server  bool      `json:"server,omitempty"`
	Node    string    `json:"node,omitempty"`
	Uses    int       `json:"uses"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Kind implements [Command].
func (CreateToken) Kind() Kind { return KindCreateToken }

func (c CreateToken) apply(m *Machine) Result {
	if reason := c.refusal(m); reason != "" {
		return refused("%s", reason)
	}
	m.tidyTokens(c.Created)
	m.putToken(Token{
		ID: c.ID, Hash: c.Hash, Server: c.Server, Node: c.Node, Uses: c.Uses, Created: instant(c.Created), Expires: instant(c.Expires),
	})
	return Result{OK: true}
}

func (c CreateToken) refusal(m *Machine) string {
	if reason := checkName("ID of the token", c.ID); reason != "" {
		return reason
	}
	if err := c.Hash.Validate(); err != nil {
		return "the hash of token " + c.ID + ": " + err.Error()
	}
	if c.Node != "" {
		if reason := checkName("name of the node", c.Node); reason != "" {
			return reason
		}
	}
	switch {
	case c.Uses < 1 || c.Uses > MaxTokenUses:
		return fmt.Sprintf("token %s would admit %d nodes: it may be 1 to %d", c.ID, c.Uses, MaxTokenUses)
	case c.Node != "" && c.Uses != 1:
		return fmt.Sprintf("token %s would admit %d nodes of the one name %s", c.ID, c.Uses, c.Node)
	case !writable(c.Created) || !writable(c.Expires):
		return "the times of token " + c.ID + " are not within the years 0 to 9999"
	case !c.Expires.After(c.Created):
		return fmt.Sprintf("token %s would expire before it is made", c.ID)
	}
	kept := 0
	for _, t := range m.t.tokens {
		if t.ID == c.ID {
			return "there is a token " + c.ID + " already"
		}
		if !t.forgettable(c.Created) {
			kept++
		}
	}
	if kept >= maxTokens {
		return fmt.Sprintf("the mesh has %d tokens already: wait until some expire", kept)
	}
	return ""
}

func (t Token) forgettable(now time.Time) bool { return t.Expires.Add(expiredTokens).Before(now) }

// tidyTokens forgets what nobody needs any more: long expired tokens, and revocations that outlived every
// certificate.
func (m *Machine) tidyTokens(now time.Time) {
	for _, t := range sorted(m.t.tokens) {
		if t.forgettable(now) {
			m.dropToken(t.ID)
		}
	}
	for _, e := range sorted(m.t.enrolments) {
		if e.forgettable(now) {
			m.dropEnrolment(e.Node)
		}
	}
}

// UseToken admits a node: the first proposal that finds a use left has it. The same node with the same key
// may come again, since the answer to it may have been lost; it doesn't use the token twice.
type UseToken struct {
	ID   string `json:"id"`
	Hash Digest `json:"hash"`
	Node string `json:"node"`
	// Key is the SHA-256 of the node's public key.
	Key Digest `json:"key"`
	// At is the time of the server that answers the node.
	At time.Time `json:"at"`
}

// Kind implements [Command].
func (UseToken) Kind() Kind { return KindUseToken }

// newTokenCure is what to do about a token that admits nobody.
const newTokenCure = "make a new token on a node of the mesh: drover mesh token create"

func (c UseToken) apply(m *Machine) Result {
	if reason := checkName("name of the node", c.Node); reason != "" {
		return refused("%s", reason)
	}
	if err := c.Key.Validate(); err != nil {
		return refused("the key of node %s: %v", c.Node, err)
	}
	if !writable(c.At) {
		return refused("the time at which token %s is used is not within the years 0 to 9999", c.ID)
	}
	t, ok := m.t.tokens[c.ID]
	if !ok || t.Hash != c.Hash {
		return refused("token %s is not known to this mesh", c.ID).withCure(newTokenCure)
	}
	if t.Revoked != "" {
		return refused("token %s was revoked: %s", c.ID, t.Revoked).withCure(newTokenCure)
	}
	e, enrolled := m.t.enrolments[c.Node]
	if enrolled && !e.Removed && e.Key == c.Key && t.usedBy(c.Node, c.Key) {
		return m.enrolled(c.Node)
	}
	if reason := c.spent(t); reason != "" {
		return refused("%s", reason).withCure(newTokenCure)
	}
	if t.Node != "" && t.Node != c.Node {
		return refused("token %s admits only a node of the name %s, not %s", c.ID, t.Node, c.Node).
			withCure("join with --node " + t.Node)
	}
	if _, known := m.t.nodes[c.Node]; known || enrolled && !e.Removed {
		return refused("the mesh has a node %s already", c.Node).
			withCure("choose another name with --node; or, if that host is gone for good: drover node rm " + c.Node)
	}
	t.Used = append(slices.Clone(t.Used), TokenUse{Node: c.Node, Key: c.Key, At: instant(c.At)})
	m.putToken(t)
	m.putEnrolment(Enrolment{Node: c.Node, Generation: e.Generation + 1, Key: c.Key, Server: t.Server, Token: t.ID})
	return m.enrolled(c.Node)
}

// spent says why the token admits no more nodes, or "".
func (c UseToken) spent(t Token) string {
	switch {
	case !c.At.Before(t.Expires):
		return fmt.Sprintf("token %s expired at %s", t.ID, t.Expires.Format(time.RFC3339))
	case t.Left() < 1 && t.Uses == 1:
		return fmt.Sprintf("token %s is used up: node %s joined with it", t.ID, t.Used[0].Node)
	case t.Left() < 1:
		return fmt.Sprintf("token %s is used up: %d nodes joined with it", t.ID, len(t.Used))
	}
	return ""
}

// RevokeToken ends a token before its time. Nodes that joined with it stay. Twice is once.
type RevokeToken struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Kind implements [Command].
func (RevokeToken) Kind() Kind { return KindRevokeToken }

func (c RevokeToken) apply(m *Machine) Result {
	t, ok := m.t.tokens[c.ID]
	if !ok {
		return refused("there is no token %s", c.ID)
	}
	m.revoke(t, c.Reason)
	return Result{OK: true}
}

func (m *Machine) revoke(t Token, reason string) {
	if t.Revoked == "" {
		t.Revoked = clip(reason, maxReason)
		if t.Revoked == "" {
			t.Revoked = "by an operator"
		}
		m.putToken(t)
	}
}
