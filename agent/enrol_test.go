package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
)

// town is a mesh for hosts to join: ams, which founded it, on a real transport on loopback, and a state in memory.
type town struct {
	t *testing.T
	machineLedger
	dir  string
	log  *lines
	ams  *townsman
	stop func() // of ams
}

// townsman is a node of a town that enrols others.
type townsman struct {
	*transport.Transport
	identity *transport.Identity
	enroller *enroller
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(p)
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

func newTown(t *testing.T) *town {
	w := &town{t: t, machineLedger: machineLedger{machine: state.New()}, dir: t.TempDir(), log: &lines{}}
	require.NoError(t, transport.Found(w.identityOf("ams"), "test", "ams"))
	w.ams, w.stop = w.open("ams", netip.MustParseAddrPort("127.0.0.1:0"), w)
	t.Cleanup(func() { w.stop() })
	w.propose(state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	w.register(w.ams)
	return w
}

func (w *town) identityOf(node string) string { return filepath.Join(w.dir, node) }

// open starts a node that has an identity. stop ends it.
func (w *town) open(node string, addr netip.AddrPort, l ledger) (*townsman, func()) {
	w.t.Helper()
	id, err := transport.LoadIdentity(w.identityOf(node))
	require.NoError(w.t, err)
	log := slog.New(slog.NewTextHandler(w.log, nil))
	var revoked revocations
	tr, err := transport.Listen(transport.Config{
		Addr: addr, Identity: id, Log: log, Revoked: revoked.reason,
		Resolve: func(name string) (netip.AddrPort, error) {
			n, ok := w.View().Node(name)
			if !ok {
				return netip.AddrPort{}, errors.New("no such node")
			}
			return n.Addr, nil
		},
	})
	require.NoError(w.t, err)
	e := &enroller{node: node, identity: tr.Identity, ledger: l, log: log, settings: func() transport.Settings {
		return transport.Settings{
			PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), OverlayVNI: 4088, OverlayPort: 4789,
			Gossip: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7946")},
		}
	}}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { _ = e.serve(ctx, tr.Listener(transport.Enrol)) })
	parts.Go(func() { revoked.enforce(ctx, w, tr) })
	var once sync.Once
	return &townsman{Transport: tr, identity: id, enroller: e}, func() {
		once.Do(func() {
			cancel()
			_ = tr.Close()
			parts.Wait()
		})
	}
}

func (w *town) propose(c state.Command) state.Result {
	w.t.Helper()
	r, err := w.Propose(w.t.Context(), c)
	require.NoError(w.t, err)
	require.True(w.t, r.OK, r.Reason)
	return r
}

func (w *town) register(n *townsman) {
	w.t.Helper()
	w.propose(state.RegisterNode{Node: state.Node{Name: n.Node(), Site: "here", Addr: n.Addr(), Enrols: n.identity.Authority != nil}})
}

// token makes a token of an hour.
func (w *town) token(edit func(*state.CreateToken)) transport.Token {
	w.t.Helper()
	token := transport.NewToken(w.ams.identity.Fingerprint())
	c := state.CreateToken{ID: token.ID(), Hash: token.Hash(), Uses: 1, Created: time.Now(), Expires: time.Now().Add(time.Hour)}
	if edit != nil {
		edit(&c)
	}
	w.propose(c)
	return token
}

func (w *town) join(token transport.Token, node string, patience time.Duration) (*transport.Admission, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(w.t, err)
	return w.joinWith(transport.JoinConfig{Token: token, Addr: w.ams.Addr(), Node: node, Key: key}, patience)
}

func (w *town) joinWith(c transport.JoinConfig, patience time.Duration) (*transport.Admission, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return transport.Join(ctx, c)
}

// settle joins a host and starts it.
func (w *town) settle(node string, server bool) *townsman {
	w.t.Helper()
	a, err := w.join(w.token(func(c *state.CreateToken) { c.Server = server }), node, 20*time.Second)
	require.NoError(w.t, err)
	require.NoError(w.t, a.Write(w.identityOf(node)))
	n, stop := w.open(node, netip.MustParseAddrPort("127.0.0.1:0"), w)
	w.t.Cleanup(stop)
	w.register(n)
	return n
}

func TestHostsJoin(t *testing.T) {
	w := newTown(t)
	fra, nyc := w.settle("fra", true), w.settle("nyc", false)
	require.NotNil(t, fra.identity.Authority, "a server can enrol others")
	require.Nil(t, nyc.identity.Authority)
	require.EqualValues(t, 1, nyc.identity.Generation)
	for from, to := range map[*townsman]string{w.ams: "nyc", nyc: "fra", fra: "ams"} {
		conn, err := from.Dial(t.Context(), to, transport.Enrol)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	require.Contains(t, w.log.String(), "enrolled a node")

	// The one that the mesh began with goes: fra admits the next, and nyc says so.
	w.stop()
	token := w.token(nil)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	a, err := w.joinWith(transport.JoinConfig{Token: token, Addr: nyc.Addr(), Node: "sin", Key: key}, 30*time.Second)
	require.NoError(t, err)
	require.Equal(t, "fra", a.By)
}

// Every row is a token, or a host with it, that must not get in: with its reason, its class and a line in the log.
func TestWhoIsNotLetIn(t *testing.T) {
	for name, c := range map[string]struct {
		token func(w *town) transport.Token
		node  string
		code  api.Code
		why   string
		quiet bool // the server never hears of it
	}{
		"unknown":  {func(w *town) transport.Token { return transport.NewToken(w.ams.identity.Fingerprint()) }, "gru", api.NotFound, "is not known to this mesh", false},
		"expired":  {func(w *town) transport.Token { return w.token(expired) }, "gru", api.FailedPrecondition, "expired at", false},
		"used":     {func(w *town) transport.Token { return w.used("sin") }, "gru", api.FailedPrecondition, "is used up: node sin joined with it", false},
		"its name": {func(w *town) transport.Token { return w.used("gru") }, "gru", api.FailedPrecondition, "is used up: node gru joined with it", false},
		"revoked": {func(w *town) transport.Token {
			token := w.token(nil)
			w.propose(state.RevokeToken{ID: token.ID(), Reason: "by an operator at ams"})
			return token
		}, "gru", api.FailedPrecondition, "was revoked: by an operator at ams", false},
		"for another name": {func(w *town) transport.Token { return w.token(func(c *state.CreateToken) { c.Node = "sin" }) },
			"gru", api.FailedPrecondition, "admits only a node of the name sin", false},
		"node is alive":         {func(w *town) transport.Token { return w.token(nil) }, "ams", api.FailedPrecondition, "the mesh has a node ams already", false},
		"node is enrolled":      {func(w *town) transport.Token { w.used("gru"); return w.token(nil) }, "gru", api.FailedPrecondition, "the mesh has a node gru already", false},
		"no name":               {func(w *town) transport.Token { return w.token(nil) }, "", api.InvalidArgument, `node name ""`, false},
		"name that is a path":   {func(w *town) transport.Token { return w.token(nil) }, "../gru", api.InvalidArgument, `node name "../gru"`, false},
		"name in capitals":      {func(w *town) transport.Token { return w.token(nil) }, "GRU", api.InvalidArgument, `node name "GRU"`, false},
		"name of a domain":      {func(w *town) transport.Token { return w.token(nil) }, "gru.example", api.InvalidArgument, `node name "gru.example"`, false},
		"token of another mesh": {func(w *town) transport.Token { return transport.NewToken(transport.Fingerprint{}) }, "gru", api.FailedPrecondition, "not of the mesh that made the token", true},
		"of a node that was removed": {func(w *town) transport.Token {
			token := w.token(func(c *state.CreateToken) { c.Uses = 2 })
			_, err := w.join(token, "sin", 20*time.Second)
			require.NoError(w.t, err)
			w.propose(state.ForgetNode{Name: "sin", At: time.Now()})
			return token
		}, "gru", api.FailedPrecondition, "was revoked: node sin, which joined with it, was removed", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			token := c.token(w)
			_, err := w.join(token, c.node, 20*time.Second)
			var refused *transport.JoinError
			require.ErrorAs(t, err, &refused)
			require.Contains(t, refused.Why, c.why)
			require.Equal(t, string(c.code), refused.Code)
			require.False(t, refused.Unknown)
			if !c.quiet {
				require.Contains(t, w.log.String(), "refused to enrol a node")
				require.Contains(t, w.log.String(), "from=127.0.0.1:")
			}
			require.NotContains(t, w.log.String(), token.String())
		})
	}
}

func expired(c *state.CreateToken) {
	c.Created, c.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Second)
}

// used is a token of one use with which a host has joined.
func (w *town) used(node string) transport.Token {
	token := w.token(nil)
	_, err := w.join(token, node, 20*time.Second)
	require.NoError(w.t, err)
	return token
}

func TestAHostWithAWrongClockIsNotLetIn(t *testing.T) {
	w := newTown(t)
	token := w.token(nil)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	request := certificateRequest(t, key)
	_, err = w.ams.enroller.answer(t.Context(), asker{}, transport.EnrolRequest{
		Secret: token.Secret[:], Node: "gru", Request: request, Time: time.Now().Add(-2 * time.Hour),
	})
	require.ErrorContains(t, err, "behind")
	tok, _ := w.View().Token(token.ID())
	require.Equal(t, 1, tok.Left(), "the token is as good as before")
}

func TestOneUseIsOneUse(t *testing.T) {
	w := newTown(t)
	token := w.token(nil)
	const hosts = 6
	errs := make(chan error, hosts)
	for i := range hosts {
		go func() {
			_, err := w.join(token, fmt.Sprintf("host-%d", i), 20*time.Second)
			errs <- err
		}()
	}
	won := 0
	for range hosts {
		err := <-errs
		if err == nil {
			won++
			continue
		}
		require.ErrorContains(t, err, "is used up")
	}
	require.Equal(t, 1, won)
	tok, _ := w.View().Token(token.ID())
	require.Len(t, tok.Used, 1)
}

// crashing is a ledger whose server dies when a token was used, before it could say so.
type crashing struct {
	ledger
	once  sync.Once
	crash func()
}

func (c *crashing) Propose(ctx context.Context, command state.Command) (state.Result, error) {
	r, err := c.ledger.Propose(ctx, command)
	if _, use := command.(state.UseToken); use {
		c.once.Do(c.crash)
	}
	return r, err
}

func TestAServerCrashesBetweenUseAndAnswer(t *testing.T) {
	w := newTown(t)
	addr := w.ams.Addr()
	w.stop()
	var stop, stopAgain func()
	up := make(chan struct{})
	var again sync.WaitGroup
	_, stop = w.open("ams", addr, &crashing{ledger: w, crash: func() {
		again.Go(func() { // not here: who stops waits for who answers
			stop()
			_, stopAgain = w.open("ams", addr, w)
			close(up)
		})
	}})
	token := w.token(nil)
	a, err := w.join(token, "gru", 40*time.Second)
	<-up
	t.Cleanup(stopAgain)
	again.Wait()
	require.NoError(t, err)
	require.Equal(t, "ams", a.By)
	tok, _ := w.View().Token(token.ID())
	require.Len(t, tok.Used, 1)
	require.Zero(t, tok.Left())
}

// unsure is a ledger that commits, and doesn't know whether it did.
type unsure struct {
	ledger
	mu   sync.Mutex
	left int
}

func (u *unsure) Propose(ctx context.Context, command state.Command) (state.Result, error) {
	r, err := u.ledger.Propose(ctx, command)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left--; u.left >= 0 {
		return state.Result{}, errors.New("the outcome is unknown")
	}
	return r, err
}

func TestAnUnknownOutcomeIsAskedForAgain(t *testing.T) {
	w := newTown(t)
	w.ams.enroller.ledger = &unsure{ledger: w, left: 2}
	token := w.token(nil)
	_, err := w.join(token, "gru", 30*time.Second)
	require.NoError(t, err)
	tok, _ := w.View().Token(token.ID())
	require.Len(t, tok.Used, 1)

	w.ams.enroller.ledger = &unsure{ledger: w, left: 1000}
	_, err = w.join(w.token(nil), "sin", time.Second)
	var failed *transport.JoinError
	require.ErrorAs(t, err, &failed)
	require.True(t, failed.Unknown)
	require.Equal(t, string(api.Unavailable), failed.Code)
}

func TestNobodyHasTheKey(t *testing.T) {
	w := newTown(t)
	nyc := w.settle("nyc", false)
	w.stop()
	w.propose(state.ForgetNode{Name: "ams", At: time.Now()})
	token := transport.NewToken(w.ams.identity.Fingerprint())
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, err = w.joinWith(transport.JoinConfig{Token: token, Addr: nyc.Addr(), Node: "sin", Key: key}, 20*time.Second)
	require.ErrorContains(t, err, "has the key of the mesh's authority")
}
