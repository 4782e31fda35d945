package state

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testHash(of string) Digest { return Digest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(of)))) }

// noon is when tokens of tests are made; they expire an hour later.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func token(id string, uses int) CreateToken {
	return CreateToken{ID: id, Hash: testHash(id), Uses: uses, Created: noon, Expires: noon.Add(time.Hour)}
}

func use(id, node string) UseToken {
	return UseToken{ID: id, Hash: testHash(id), Node: node, Key: testHash("key of " + node), At: noon.Add(time.Minute)}
}

func TestATokenAdmitsAsOftenAsItSays(t *testing.T) {
	m := small(t)
	must(t, m, token("t-1", 2))
	r := must(t, m, use("t-1", "gru"))
	require.Equal(t, &Enrolment{Node: "gru", Generation: 1, Key: testHash("key of gru"), Token: "t-1"}, r.Enrolment)
	for range 3 { // the answer was lost
		require.Equal(t, r, must(t, m, use("t-1", "gru")))
	}
	must(t, m, use("t-1", "sin"))
	r = m.Apply(use("t-1", "syd"))
	require.Equal(t, "token t-1 is used up: 2 nodes joined with it", r.Reason)
	require.NotEmpty(t, r.Cure)
	tok, _ := m.View().Token("t-1")
	require.Zero(t, tok.Left())
	require.Equal(t, []TokenUse{
		{Node: "gru", Key: testHash("key of gru"), At: noon.Add(time.Minute)}, {Node: "sin", Key: testHash("key of sin"), At: noon.Add(time.Minute)},
	}, tok.Used)
	_, err := restored(m)
	require.NoError(t, err)
}

func TestTokensThatAdmitNobody(t *testing.T) {
	for name, c := range map[string]struct {
		before []Command
		use    func(*UseToken)
		why    string
	}{
		"unknown":           {nil, func(c *UseToken) { c.ID = "t-9" }, "token t-9 is not known to this mesh"},
		"wrong secret":      {nil, func(c *UseToken) { c.Hash = testHash("guess") }, "token t-1 is not known to this mesh"},
		"empty hash":        {nil, func(c *UseToken) { c.Hash = "" }, "token t-1 is not known to this mesh"},
		"expired":           {nil, func(c *UseToken) { c.At = noon.Add(time.Hour) }, "token t-1 expired at 2026-03-01T13:00:00Z"},
		"used up":           {[]Command{use("t-1", "sin")}, nil, "token t-1 is used up: node sin joined with it"},
		"revoked":           {[]Command{RevokeToken{ID: "t-1", Reason: "lost"}}, nil, "token t-1 was revoked: lost"},
		"revoked in use":    {[]Command{use("t-1", "gru"), RevokeToken{ID: "t-1"}}, nil, "token t-1 was revoked: by an operator"},
		"known node":        {nil, func(c *UseToken) { c.Node = "fra" }, "the mesh has a node fra already"},
		"enrolled node":     {[]Command{token("t-2", 1), use("t-2", "gru")}, nil, "the mesh has a node gru already"},
		"name taken by key": {[]Command{token("t-2", 1), use("t-2", "gru")}, func(c *UseToken) { c.Key = testHash("x") }, "the mesh has a node gru already"},
		"bad name":          {nil, func(c *UseToken) { c.Node = "../gru" }, `the name of the node "../gru" may have`},
		"bad key":           {nil, func(c *UseToken) { c.Key = "sha256:00" }, "the key of node gru"},
		"bad time":          {nil, func(c *UseToken) { c.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "years 0 to 9999"},
		"another's": {[]Command{CreateToken{ID: "t-3", Hash: testHash("t-3"), Node: "sin", Uses: 1, Created: noon, Expires: noon.Add(time.Hour)}},
			func(c *UseToken) { c.ID, c.Hash = "t-3", testHash("t-3") }, "token t-3 admits only a node of the name sin, not gru"},
	} {
		t.Run(name, func(t *testing.T) {
			m := small(t)
			must(t, m, token("t-1", 1))
			for _, before := range c.before {
				must(t, m, before)
			}
			u := use("t-1", "gru")
			if c.use != nil {
				c.use(&u)
			}
			before := m.View()
			r := m.Apply(u)
			require.False(t, r.OK)
			require.Contains(t, r.Reason, c.why)
			require.True(t, sameRecords(before, m.View()))
		})
	}
}

func TestCreateTokenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*CreateToken)
		why   string
	}{
		"no ID":                 {func(c *CreateToken) { c.ID = "" }, "empty"},
		"ID that is a path":     {func(c *CreateToken) { c.ID = "../t" }, "may have"},
		"the same ID":           {func(c *CreateToken) { c.ID = "t-1" }, "there is a token t-1 already"},
		"no hash":               {func(c *CreateToken) { c.Hash = "" }, "does not begin with"},
		"no uses":               {func(c *CreateToken) { c.Uses = 0 }, "would admit 0 nodes"},
		"many uses":             {func(c *CreateToken) { c.Uses = MaxTokenUses + 1 }, "would admit 1001 nodes"},
		"two hosts of one name": {func(c *CreateToken) { c.Uses, c.Node = 2, "gru" }, "2 nodes of the one name gru"},
		"bad name":              {func(c *CreateToken) { c.Node = "Gru" }, "may have lower-case"},
		"no life":               {func(c *CreateToken) { c.Expires = c.Created }, "would expire before"},
		"year 10000":            {func(c *CreateToken) { c.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "years 0 to 9999"},
	} {
		m := small(t)
		must(t, m, token("t-1", 1))
		create := token("t-2", 1)
		c.spoil(&create)
		r := m.Apply(create)
		require.False(t, r.OK, name)
		require.Contains(t, r.Reason, c.why, name)
	}
}

func TestAPlainNodeMakesItselfNoServer(t *testing.T) {
	m := small(t)
	must(t, m, token("t-1", 1))
	must(t, m, use("t-1", "gru"))
	r := m.Apply(RegisterNode{Node{Name: "gru", Site: "br", Server: true}})
	require.Equal(t, "node gru is configured as a server, and was admitted as a plain node", r.Reason)
	require.Contains(t, r.Cure, "a token for servers")
	must(t, m, RegisterNode{Node{Name: "gru", Site: "br"}})

	servers := token("t-2", 1)
	servers.Server = true
	must(t, m, servers)
	must(t, m, ForgetNode{Name: "gru", At: noon})
	again := use("t-2", "gru")
	again.Key = testHash("another key")
	must(t, m, again)
	must(t, m, RegisterNode{Node{Name: "gru", Site: "br", Server: true}})
}

func TestARemovedNodeComesBackOnlyAnew(t *testing.T) {
	m := small(t)
	must(t, m, token("t-1", 3))
	must(t, m, use("t-1", "gru"))
	must(t, m, RegisterNode{Node{Name: "gru", Site: "br"}})
	must(t, m, ForgetNode{Name: "gru", At: noon})
	must(t, m, ForgetNode{Name: "gru", At: noon.Add(time.Hour)}) // again

	require.Equal(t, "node gru was removed from the mesh", m.Apply(RegisterNode{Node{Name: "gru", Site: "br"}}).Reason)
	require.Contains(t, m.View().Revoked("gru", 1), "removed")
	require.Contains(t, m.View().Revoked("gru", 0), "removed")
	// Neither by its old key nor by the uses that are left.
	require.Contains(t, m.Apply(use("t-1", "gru")).Reason, "token t-1 was revoked: node gru, which joined with it, was removed")
	require.False(t, m.Apply(use("t-1", "gru-2")).OK)

	must(t, m, token("t-2", 1))
	u := use("t-2", "gru")
	u.Key = testHash("another host")
	require.EqualValues(t, 2, must(t, m, u).Enrolment.Generation)
	must(t, m, RegisterNode{Node{Name: "gru", Site: "br"}})
	require.Contains(t, m.View().Revoked("gru", 1), "another host")
	require.Empty(t, m.View().Revoked("gru", 2))
}

func TestRemovalOfNodesThatNeverJoined(t *testing.T) {
	m := small(t)
	require.Empty(t, m.View().Revoked("nyc", 0))
	must(t, m, ForgetNode{Name: "nyc", At: noon})
	require.NotEmpty(t, m.View().Revoked("nyc", 0))
	require.False(t, m.Apply(RegisterNode{Node{Name: "nyc", Site: "us"}}).OK)
	must(t, m, ForgetNode{Name: "mars"})
	_, ok := m.View().Enrolment("mars")
	require.False(t, ok)
	must(t, m, token("t-1", 1))
	require.EqualValues(t, 1, must(t, m, use("t-1", "nyc")).Enrolment.Generation)
	// Enrolled, and never seen: it can be removed too.
	must(t, m, ForgetNode{Name: "nyc", At: noon})
	require.NotEmpty(t, m.View().Revoked("nyc", 1))
}

func TestWhatIsLongOverIsForgotten(t *testing.T) {
	m := small(t)
	must(t, m, token("t-1", 1))
	must(t, m, use("t-1", "gru"))
	must(t, m, ForgetNode{Name: "gru", At: noon})
	must(t, m, ForgetNode{Name: "nyc"}) // nobody knows when
	late := token("t-2", 1)
	late.Created = noon.Add(RevokedFor - time.Minute)
	late.Expires = late.Created.Add(time.Hour)
	must(t, m, late)
	require.Len(t, m.View().Tokens(), 1)
	require.NotEmpty(t, m.View().Revoked("gru", 1))
	late.ID, late.Created = "t-3", noon.Add(RevokedFor+time.Minute)
	must(t, m, late)
	require.Empty(t, m.View().Revoked("gru", 1))
	require.NotEmpty(t, m.View().Revoked("nyc", 0))
}

func TestTokensAreLimited(t *testing.T) {
	m := small(t)
	for i := range maxTokens {
		must(t, m, token(fmt.Sprintf("t-%d", i), 1))
	}
	require.Contains(t, m.Apply(token("one-more", 1)).Reason, "1000 tokens already")
	later := token("one-more", 1)
	later.Created = noon.Add(expiredTokens + 2*time.Hour)
	later.Expires = later.Created.Add(time.Hour)
	must(t, m, later)
	require.Len(t, m.View().Tokens(), 1)
}

func TestADuplicateProposalAnswersWithTheEnrolment(t *testing.T) {
	m := small(t)
	must(t, m, token("t-1", 1))
	first := m.ApplyOnce("p-1", use("t-1", "gru"))
	require.True(t, first.OK)
	m, err := restored(m)
	require.NoError(t, err)
	require.Equal(t, first, m.ApplyOnce("p-1", use("t-1", "gru")))
	refusal := m.ApplyOnce("p-2", use("t-1", "sin"))
	require.Equal(t, refusal, m.ApplyOnce("p-2", use("t-1", "sin")))
	require.True(t, strings.HasPrefix(refusal.Cure, "make a new token"))
}
