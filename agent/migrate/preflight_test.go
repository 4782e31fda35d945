package migrate

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// What both ends have against a move is told at once, and nothing is touched.
func TestRefusalsOfBothEndsAreCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		ring := Refusal{Node: "ams", Container: "app", Process: "node", PID: 7, HostPID: 4711, Reason: "it uses io_uring", Cure: "switch it off"}
		cgroup := Refusal{Node: "ams", Container: "app", Reason: "somebody has mounted /mnt in it"}
		full := Refusal{Node: "fra", Reason: "it has 3 MiB free in /run", Cure: "free some space there"}
		w.hosts["ams"].agent.refusals = []Refusal{ring, cgroup}
		w.hosts["fra"].agent.refusals = []Refusal{full}
		var note string
		err := w.move(context.Background(), func(p Progress) {
			if p.Status == Broken {
				note = p.Note
			}
		})
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, []Refusal{ring, cgroup, full}, refused.Refusals)
		require.False(t, refused.ByTarget(), "another target wouldn't take it either")
		require.True(t, (&RefusedError{Target: "fra", Refusals: []Refusal{full}}).ByTarget())
		require.Equal(t, "3 things keep it from moving", note)
		require.EqualError(t, err, "the pod can't move to fra: ams: container app: node (pid 7): it uses io_uring (switch it off); "+
			"ams: container app: somebody has mounted /mnt in it; fra: it has 3 MiB free in /run (free some space there)")
		synctest.Wait()
		w.settled(t, "refused")

		w.hosts["ams"].agent.refusals, w.hosts["fra"].agent.refusals = nil, nil
		require.NoError(t, w.move(context.Background(), func(Progress) {}))
	})
}

func TestLookAheadChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		before := w.machine.View().Index()
		for range 2 {
			ahead, err := LookAhead(t.Context(), w.plan(), source{w.hosts["ams"].agent}, peer{w.hosts["ams"].agent, w.hosts["fra"]})
			require.NoError(t, err)
			require.Empty(t, ahead.Refusals())
			require.Equal(t, []state.Digest{"sha256:1"}, ahead.Offer.Missing)
		}
		synctest.Wait()
		require.Equal(t, before, w.machine.View().Index())
		w.settled(t, "only looked at")
		w.hosts["fra"].agent.kill()
		_, err := LookAhead(t.Context(), w.plan(), source{w.hosts["ams"].agent}, peer{w.hosts["ams"].agent, w.hosts["fra"]})
		require.Error(t, err, "who doesn't answer hasn't agreed")
	})
}
