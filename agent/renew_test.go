package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/transport"
)

func certificateRequest(t *testing.T, key ed25519.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	return der
}

func (w *town) renewer(n *townsman) *renewer {
	return &renewer{dir: w.identityOf(n.Node()), transport: n.Transport, view: w.View, log: slog.New(slog.NewTextHandler(w.log, nil))}
}

// awaitNextSecond returns when certificates would end a second later than now: they have whole seconds.
func awaitNextSecond(t *testing.T, was time.Time) {
	t.Helper()
	require.Eventually(t, func() bool { return time.Now().Add(transport.NodeLifetime).Truncate(time.Second).After(was) }, 3*time.Second, 10*time.Millisecond)
}

func TestNodesRenewTheirCertificates(t *testing.T) {
	w := newTown(t)
	nyc := w.settle("nyc", false)
	before, err := nyc.Dial(t.Context(), "ams", transport.Enrol)
	require.NoError(t, err)
	defer before.Close()
	for _, n := range []*townsman{nyc, w.ams} { // over the wire, and by itself
		awaitNextSecond(t, n.identity.Expires)
		require.NoError(t, w.renewer(n).renew(t.Context(), n.Identity()))
		now := n.Identity()
		require.True(t, now.Expires.After(n.identity.Expires))
		require.Equal(t, n.identity.Generation, now.Generation)
		again, err := transport.LoadIdentity(w.identityOf(n.Node()))
		require.NoError(t, err)
		require.Equal(t, now.Expires, again.Expires)
	}
	// What was open goes on.
	require.NoError(t, transport.EnrolRequest{Node: "nyc"}.Write(before))
	answer, err := transport.ReadEnrolAnswer(before)
	require.NoError(t, err)
	require.NotNil(t, answer.Refusal)
	require.NotEmpty(t, answer.Refusal.Why)
}

func TestWhoMayNotRenew(t *testing.T) {
	w := newTown(t)
	nyc := w.settle("nyc", false)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	own, err := nyc.Identity().Request()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		who asker
		r   transport.EnrolRequest
		why string
	}{
		"another's name": {asker{node: "nyc", generation: 1}, transport.EnrolRequest{Node: "ams", Request: own}, "node nyc asks for a certificate of node ams"},
		"another key":    {asker{node: "nyc", generation: 1}, transport.EnrolRequest{Node: "nyc", Request: certificateRequest(t, other)}, "enrolled with another key"},
		"an older host":  {asker{node: "nyc", generation: 0}, transport.EnrolRequest{Node: "nyc", Request: own}, "another host has joined under that name"},
		"garbage":        {asker{node: "nyc", generation: 1}, transport.EnrolRequest{Node: "nyc", Request: []byte("x")}, "can't be read"},
	} {
		_, err := w.ams.enroller.answer(t.Context(), c.who, c.r)
		require.ErrorContains(t, err, c.why, name)
	}
}

func TestARemovedNodeIsCutOffAndStaysOut(t *testing.T) {
	w := newTown(t)
	nyc := w.settle("nyc", false)
	conn, err := nyc.Dial(t.Context(), "ams", transport.Enrol)
	require.NoError(t, err)
	defer conn.Close()
	w.propose(state.ForgetNode{Name: "nyc", At: time.Now()})
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, transport.ErrLost)
	require.ErrorContains(t, err, "the node was removed from the mesh")
	_, err = nyc.Dial(t.Context(), "ams", transport.Enrol)
	require.ErrorIs(t, err, transport.ErrUnreachable)
	require.Error(t, w.renewer(nyc).renew(t.Context(), nyc.Identity()))
	r, err := w.Propose(t.Context(), state.RegisterNode{Node: state.Node{Name: "nyc", Site: "here"}})
	require.NoError(t, err)
	require.Contains(t, r.Reason, "was removed from the mesh")

	// Another host takes its place, and only it is nyc.
	a, err := w.join(w.token(func(c *state.CreateToken) { c.Node = "nyc" }), "nyc", 20*time.Second)
	require.NoError(t, err)
	require.NoError(t, a.Write(w.identityOf("nyc-2")))
	second, stop := w.open("nyc-2", netip.MustParseAddrPort("127.0.0.1:0"), w)
	t.Cleanup(stop)
	w.register(second)
	back, err := second.Dial(t.Context(), "ams", transport.Enrol)
	require.NoError(t, err)
	require.NoError(t, back.Close())
	_, err = nyc.Dial(t.Context(), "ams", transport.Enrol)
	require.ErrorIs(t, err, transport.ErrUnreachable)
}

func TestRevocationsAreRememberedLongerThanCertificatesLive(t *testing.T) {
	require.Greater(t, state.RevokedFor, transport.NodeLifetime)
}

func TestACertificateThatRunsOutIsRenewed(t *testing.T) {
	w := newTown(t)
	nyc := w.settle("nyc", false)
	old := *nyc.Identity()
	old.Expires = time.Now().Add(renewBelow - time.Minute)
	require.NoError(t, nyc.SetIdentity(&old))
	ctx, stop := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	keeping.Go(func() { w.renewer(nyc).keepValid(ctx) })
	require.Eventually(t, func() bool { return time.Until(nyc.Identity().Expires) > 2*renewBelow }, 10*time.Second, time.Millisecond)
	stop()
	keeping.Wait()
	require.Contains(t, w.log.String(), "this node's certificate was renewed")
	require.Equal(t, 1, strings.Count(w.log.String(), "renewed a certificate"), "once is enough")
}
