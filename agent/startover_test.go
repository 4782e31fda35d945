package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// Of all pods that come to a node, only one is started from its image there: that of which the mesh has committed that its state
// is lost, in the life that began so.
func TestOnlyAPodOfWhichAllIsLostBeginsAnew(t *testing.T) {
	origin := func(kind state.OriginKind, epoch uint64) *state.Origin {
		return &state.Origin{Kind: kind, Epoch: epoch}
	}
	for _, c := range []struct {
		name string
		pod  state.Pod
		anew bool
	}{
		{"as it was made", state.Pod{Epoch: 1}, false},
		{"moved", state.Pod{Epoch: 2}, false},
		{"lost", state.Pod{Epoch: 2, Origin: origin(state.OriginImage, 2)}, true},
		{"lost, and moved since", state.Pod{Epoch: 3, Origin: origin(state.OriginImage, 2)}, false},
		{"goes on from a frozen copy", state.Pod{Epoch: 3, Origin: origin(state.OriginFrozen, 3)}, false},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.anew, beginsAnew(c.pod)) })
	}
}

// A node that is back removes what it has of a pod that is none of its business any more, and nothing that is.
func TestWhatConcernsANodeThatIsBack(t *testing.T) {
	l := threeNodes(t, "redis")
	v := func() state.View { return l.machine.View() }
	require.True(t, concerns(v(), "fra", "u-redis"))
	require.False(t, concerns(v(), "nyc", "u-redis"))
	apply := func(c state.Command) {
		t.Helper()
		r := l.machine.Apply(c)
		require.True(t, r.OK, "%T: %s", c, r.Reason)
	}
	at := time.Unix(1000, 0)
	apply(state.Failover{UID: "u-redis", Epoch: 1, From: "fra", To: "nyc", Term: 3, At: at})
	require.False(t, concerns(v(), "fra", "u-redis"))
	require.True(t, concerns(v(), "fra", "u-plain"), "it waits for fra")
	require.False(t, concerns(v(), "fra", "u-unknown"))

	apply(state.Reserve{Migration: "m1", Pod: "redis", Source: "nyc", Target: "fra"})
	require.True(t, concerns(v(), "fra", "u-redis"), "it is on its way to here")
	apply(state.Activate{Migration: "m1", Node: "fra", Epoch: 3})
	require.True(t, concerns(v(), "nyc", "u-redis"), "its frozen copy may be needed")
	apply(state.AbortAndFailover{Migration: "m1", UID: "u-redis", Epoch: 3, From: "fra", To: "nyc", Term: 3, At: at})
	require.True(t, concerns(v(), "nyc", "u-redis"), "it goes on from the frozen copy")
	require.False(t, concerns(v(), "fra", "u-redis"), "whatever ran here is stale")
}

func TestTroubleIsToldOnceUntilItChanges(t *testing.T) {
	p := &pods{}
	require.False(t, p.trouble("u1", nil))
	require.True(t, p.trouble("u1", errors.New("no image")))
	require.False(t, p.trouble("u1", errors.New("no image")))
	require.True(t, p.trouble("u1", errors.New("no lease")))
	require.False(t, p.trouble("u1", nil))
	require.Empty(t, p.troubles)
}
