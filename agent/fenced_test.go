package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/fence"
	"github.com/drover-mesh/drover/state"
)

func TestAPodIsAllowedOnlyUnderALeaseAFenceAndAMute(t *testing.T) {
	h := newFencedHost(t, "web")
	require.NoError(t, h.allowed(t.Context(), h.pod("plain")), "it has no policy")
	require.Empty(t, h.told())

	err := h.allowed(t.Context(), h.pod("web"))
	require.Equal(t, api.Unavailable, api.AsError(err).Code)
	require.ErrorContains(t, err, "running pod web: this node has no lease, and another may take the pod over: the mesh has no leader")
	require.Empty(t, h.told())

	h.renew()
	h.pass(time.Second)
	require.NoError(t, h.allowed(t.Context(), h.pod("web")))
	require.Equal(t, "mute u-web, start, 1: lease of 5s, 1: hold u-web, let one more send for 5s", h.told())
	require.NoError(t, h.allowed(t.Context(), h.pod("web")), "a restart of a container, whose cgroup may be another")
	require.Equal(t, "mute u-web, 1: hold u-web, let one more send for 5s", h.told())

	h.pass(5 * time.Second)
	require.Error(t, h.allowed(t.Context(), h.pod("web")), "the lease is over")
	h.renew()
	h.lease.Index++
	require.Error(t, h.allowed(t.Context(), h.pod("web")), "this node has not heard of all failovers before it")
	require.Empty(t, h.told())
}

func TestAHostThatCannotFenceRefusesPodsWithAPolicy(t *testing.T) {
	h := newFencedHost(t, "web")
	h.renew()
	h.muteErr = errors.New("this kernel's nftables can't")
	err := h.allowed(t.Context(), h.pod("web"))
	require.Equal(t, api.FailedPrecondition, api.AsError(err).Code)
	require.ErrorContains(t, err, "it has a failover policy, and this host can't fence it: this kernel's nftables can't")
	require.Contains(t, api.AsError(err).Cure, "drover doctor")
	require.Empty(t, h.told(), "nothing is begun")
	require.ErrorContains(t, h.able(), "can't")

	h.muteErr, h.broken = nil, errors.New("no memory")
	require.ErrorContains(t, h.allowed(t.Context(), h.pod("web")), "no memory")
	require.NoError(t, h.allowed(t.Context(), h.pod("plain")))
}

// The node is cut off, and comes back: what is still its own goes on, what was taken over doesn't.
func TestWhatTheFenceFrozeGoesOnIfItIsStillOwned(t *testing.T) {
	h := newFencedHost(t, "web", "db")
	h.renew()
	for _, name := range []string{"web", "db"} {
		require.NoError(t, h.allowed(t.Context(), h.pod(name)))
		h.live = append(h.live, "u-"+name)
	}
	h.told()
	h.pass(7 * time.Second)
	h.fences[0].fire()
	require.NoError(t, h.tend(t.Context()))
	require.Empty(t, h.told(), "without a lease the agent does nothing")
	since, frozen := h.frozenSince("u-web")
	require.True(t, frozen)
	require.Equal(t, time.Unix(0, h.now.Wall), since)

	r := h.mesh.machine.Apply(state.Failover{UID: "u-db", Epoch: 1, From: "fra", To: "nyc", Term: 3, At: time.Unix(2000, 0), Reason: "lost"})
	require.True(t, r.OK, r.Reason)
	h.renew()
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: lease of 6s, let 1 send for 6s, 1: thaw u-web", h.told())
	_, frozen = h.frozenSince("u-web")
	require.False(t, frozen)
	_, frozen = h.frozenSince("u-db")
	require.True(t, frozen, "another node has it now")

	require.NoError(t, h.without(t.Context(), "u-db", func() error {
		h.say("remove u-db")
		require.NoError(t, h.tend(t.Context()), "nobody takes it up again while it is removed")
		return nil
	}))
	require.Equal(t, "1: drop u-db, remove u-db, let 1 send for 6s, unmute u-db", h.told())
}

// A pod was taken over and has come back to this node meanwhile, to begin anew: what is here of its earlier life never goes on.
func TestWhatTheFenceFrozeOfAnEarlierLifeStaysFrozen(t *testing.T) {
	h := newFencedHost(t, "web")
	h.renew()
	require.NoError(t, h.allowed(t.Context(), h.pod("web")))
	h.live, h.stale = []string{"u-web"}, "u-web"
	h.pass(7 * time.Second)
	h.fences[0].fire()
	for _, c := range []state.Failover{{Epoch: 1, From: "fra", To: "nyc"}, {Epoch: 2, From: "nyc", To: "fra"}} {
		c.UID, c.Term, c.At = "u-web", 3, time.Unix(2000, 0)
		require.True(t, h.mesh.machine.Apply(c).OK)
	}
	h.renew()
	h.told()
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: lease of 6s, let 0 send for 6s", h.told(), "nor does its kernel answer for it")
	h.stale = ""
	require.NoError(t, h.tend(t.Context()))
	require.Contains(t, h.told(), "thaw u-web")
}

func TestAFenceThatEndsIsReplaced(t *testing.T) {
	h := newFencedHost(t, "web")
	h.renew()
	require.NoError(t, h.allowed(t.Context(), h.pod("web")))
	h.live = []string{"u-web"}
	h.told()
	h.pass(time.Second)
	h.renew()
	h.fences[0].deaf = true
	require.ErrorContains(t, h.tend(t.Context()), "it has ended")
	close(h.fences[0].gone)
	require.Equal(t, "1: killed", h.told(), "it would freeze what it holds")
	h.renew()
	require.NoError(t, h.tend(t.Context()))
	h.loseEnded()
	require.Equal(t, "start, 2: lease of 6s, 2: hold u-web, let 1 send for 6s", h.told())

	// None can be started: nothing runs without one.
	close(h.fences[1].gone)
	h.loseEnded()
	h.told()
	h.broken = errors.New("no memory")
	require.ErrorContains(t, h.tend(t.Context()), "no memory")
	require.Equal(t, "agent freezes u-web", h.told())
	h.broken = nil
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "start, 3: lease of 6s, 3: hold u-web, let 1 send for 6s, 3: thaw u-web", h.told())
}

// An agent that starts finds pods that run without a fence: both were killed. Without a lease that fence freezes them.
func TestPodsWithoutAFenceGetOneAtOnce(t *testing.T) {
	h := newFencedHost(t, "web")
	h.live = []string{"u-web", "u-coming"}
	h.arriving = func(uid string) bool { return uid == "u-coming" }
	require.NoError(t, h.resume(t.Context()))
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "start, 1: hold u-web, mute u-web", h.told())
	h.fences[0].fire()
	h.renew()
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: lease of 6s, let 1 send for 6s, 1: thaw u-web", h.told())
}

func TestAPodThatCannotBeFencedIsFrozenAlone(t *testing.T) {
	h := newFencedHost(t, "web", "db")
	h.live, h.bare = []string{"u-db", "u-web"}, "u-db"
	h.renew()
	require.ErrorContains(t, h.tend(t.Context()), "no cgroup")
	require.Equal(t, "start, 1: lease of 6s, agent freezes u-db, 1: hold u-web, mute u-web, let 1 send for 6s", h.told())
	h.bare = ""
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: hold u-db, mute u-db, let 2 send for 6s, 1: thaw u-db", h.told())
}

func TestTheFenceOfAnEarlierAgentIsTakenOver(t *testing.T) {
	h := newFencedHost(t, "web")
	h.live = []string{"u-web"}
	before := h.guardOf("v2")
	before.status.Pods = []fence.Held{{UID: "u-web"}, {UID: "u-removed"}}
	h.left = []guard{before}
	require.NoError(t, h.resume(t.Context()))
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: drop u-removed", h.told(), "it goes on with the lease that it has")
	h.renew()
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: lease of 6s, let 1 send for 6s", h.told())
}

func TestAFenceOfAnotherVersionEndsOnceTheNewOneHoldsAll(t *testing.T) {
	h := newFencedHost(t, "web", "db")
	h.live = []string{"u-web", "u-db"}
	old := h.guardOf("v1")
	old.status.Pods = []fence.Held{{UID: "u-web"}, {UID: "u-db"}}
	h.left = []guard{old}
	h.renew()
	require.NoError(t, h.resume(t.Context()))
	require.Equal(t, "start, 2: lease of 6s, 2: hold u-db, 2: hold u-web, 1: end", h.told())

	// If no new one can be had the old one stays.
	h = newFencedHost(t, "web")
	h.live, h.broken = []string{"u-web"}, errors.New("no memory")
	old = h.guardOf("v1")
	old.status.Pods = []fence.Held{{UID: "u-web"}}
	h.left = []guard{old}
	require.ErrorContains(t, h.resume(t.Context()), "no memory")
	require.Empty(t, h.told())
}

// A pod comes, and finds a fence that waits for it; or it doesn't come.
func TestAFenceAwaitsThePodThatIsExpected(t *testing.T) {
	h := newFencedHost(t, "web")
	require.NoError(t, h.expect(t.Context(), h.pod("plain")))
	require.Empty(t, h.told())
	require.NoError(t, h.expect(t.Context(), h.pod("web")))
	require.Equal(t, "mute u-web, start", h.told())
	h.renew()
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: lease of 6s, let 0 send for 6s", h.told())
	require.NoError(t, h.allowed(t.Context(), h.pod("web")))
	require.Equal(t, "mute u-web, 1: hold u-web, let one more send for 6s", h.told())

	h = newFencedHost(t, "web")
	require.NoError(t, h.expect(t.Context(), h.pod("web")))
	require.NoError(t, h.without(t.Context(), "u-web", func() error { return nil }))
	h.told()
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: end, sweep", h.told())
}

func TestAFenceEndsWithItsLastPod(t *testing.T) {
	h := newFencedHost(t, "web")
	h.renew()
	require.NoError(t, h.allowed(t.Context(), h.pod("web")))
	h.live = []string{"u-web"}
	h.told()
	require.NoError(t, h.without(t.Context(), "u-web", func() error { h.live = nil; return nil }))
	require.NoError(t, h.tend(t.Context()))
	require.Equal(t, "1: drop u-web, unmute u-web, 1: end, sweep", h.told())
	require.NoError(t, h.tend(t.Context()))
	require.Empty(t, h.told())
}

func TestAPodWaitsForItsFirstLease(t *testing.T) {
	h := newFencedHost(t, "web")
	err := h.await(t.Context(), h.pod("web"), time.Millisecond)
	require.Equal(t, api.Unavailable, api.AsError(err).Code)
	h.renew()
	require.NoError(t, h.await(t.Context(), h.pod("web"), time.Millisecond))
}
