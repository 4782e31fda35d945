package agent

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/state"
)

// views is a ledger whose node hears something new each time it looks. Nothing can be proposed.
type views struct {
	currentLedger
	next []state.View
}

func (v *views) View() state.View {
	now := v.next[0]
	if len(v.next) > 1 {
		v.next = v.next[1:]
	}
	return now
}

// placed is a mesh of five nodes at two sites with a pod at ams1, as it is and once the pod is at fra.
func placed(t *testing.T) (before, after state.View) {
	m := state.New()
	apply := func(c state.Command) {
		r := m.Apply(c)
		require.True(t, r.OK, r.Reason)
	}
	apply(state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	for i, name := range []string{"ams1", "ams2", "fra", "fra2", "fra3"} {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, byte(i), 1}), 7400)
		site := strings.TrimRight(name, "123")
		apply(state.RegisterNode{Node: state.Node{Name: name, Site: site + "-site", Addr: addr}})
	}
	image := state.Digest("sha256:" + strings.Repeat("a", 64))
	apply(state.CreatePod{Name: "redis", UID: "u1", Manifest: []byte(`{}`), Containers: []state.Container{{Name: "main", Layers: []state.Digest{image}}}, Node: "ams1"})
	apply(state.CreatePod{Name: "other", UID: "u2", Manifest: []byte(`{}`), Containers: []state.Container{{Name: "main", Layers: []state.Digest{image}}}, Node: "fra"})
	before = m.View()
	apply(state.Reserve{Migration: "m1", Pod: "redis", Source: "ams1", Target: "fra"})
	apply(state.Activate{Migration: "m1", Node: "fra", Epoch: 2})
	apply(state.Complete{Migration: "m1", Node: "fra"})
	return before, m.View()
}

// A pod that leaves between the look and the claim must be neither started afresh nor removed: both would happen to the
// one that runs elsewhere. There is no runtime here, so that a try is a crash.
func TestPodThatHasJustLeftIsLeftAlone(t *testing.T) {
	before, after := placed(t)
	nobody := func(string) bool { return false }
	h := &host{node: "ams1", log: slog.New(slog.DiscardHandler)}
	p := &pods{host: h, ledger: &views{next: []state.View{before, before, after}}, busy: map[string]bool{}}
	require.NoError(t, p.recover(t.Context(), nobody))
	require.False(t, p.isBusy("u1"))

	stale, _ := before.Pod("redis")
	p.ledger = &views{next: []state.View{after}}
	err := p.remove(t.Context(), stale)
	require.Equal(t, api.Unavailable, api.AsError(err).Code)
	require.False(t, p.isBusy("u1"))
}

// behind is a ledger whose view stands still until it is told to catch up.
type behind struct{ views }

func (b *behind) Sync(context.Context) error {
	b.next = b.next[1:]
	return nil
}

// A server that is cut off from the leader hears by way of another one that its move is done. By its own view the pod is still at
// home, and nothing of it is there: to start it would be to run it twice.
func TestNothingIsStartedByAnOldView(t *testing.T) {
	before, after := placed(t)
	pod, _ := before.Pod("redis")
	for name, c := range map[string]struct {
		views []state.View
		ours  bool
	}{
		"gone":  {[]state.View{before, after}, false},
		"there": {[]state.View{before, before}, true},
	} {
		p := &pods{host: &host{node: "ams1"}, ledger: &behind{views{next: c.views}}}
		ours, err := p.stillOwned(t.Context(), pod)
		require.NoError(t, err, name)
		require.Equal(t, c.ours, ours, name)
	}
	p := &pods{host: &host{node: "ams1"}, ledger: cutOff{}}
	_, err := p.stillOwned(t.Context(), pod)
	require.ErrorContains(t, err, "making sure that pod redis is still this node's")
}

func TestMovesOfAnEarlierAgentClaimTheirPods(t *testing.T) {
	p := &pods{busy: map[string]bool{}}
	c := claiming{pods: p}
	require.True(t, p.take("u1"))
	plan := migrate.Plan{Pod: state.Pod{UID: "u1", Name: "redis"}}
	require.ErrorContains(t, c.Thaw(t.Context(), plan), "being started, moved or removed")
	require.ErrorContains(t, c.Retire(t.Context(), plan), "being started, moved or removed")
	p.give("u1")
	require.NoError(t, c.claim(t.Context(), plan, func(context.Context, migrate.Plan) error {
		require.True(t, p.isBusy("u1"))
		return nil
	}))
	require.False(t, p.isBusy("u1"))
}

func TestTargets(t *testing.T) {
	v, _ := placed(t)
	p, _ := v.Pod("redis")
	ready := func(node string) string {
		if node == "fra3" {
			return "it does not answer"
		}
		return ""
	}
	for to, want := range map[string]string{"fra": "fra", "ams2": "ams2", "fra-site": "fra2"} {
		got, err := target(v, p, to, ready)
		require.NoError(t, err, to)
		require.Equal(t, want, got, to)
	}
	for to, want := range map[string]api.Code{"ams1": api.FailedPrecondition, "ams-site": api.FailedPrecondition, "fra3": api.FailedPrecondition, "nowhere": api.NotFound} {
		_, err := target(v, p, to, ready)
		require.Equal(t, want, api.AsError(err).Code, "%q: %v", to, err)
	}
}

func TestImagesLeaveSpace(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	require.NoError(t, err)
	s := &sparing{file: f, spare: 1 << 60}
	defer s.Close()
	_, err = io.Copy(s, strings.NewReader("pages"))
	require.ErrorContains(t, err, "stay free")
	s.spare = 0
	_, err = s.Write([]byte("pages"))
	require.NoError(t, err)
}
