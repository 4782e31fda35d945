//go:build root

package route

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mover is a pod 5 that moves from ams to fra, with nyc looking on, and somebody who sends to it all the time.
type mover struct {
	*world
	ams, fra, nyc *site
	from, to      *place
	cut           *Cutover
	flow          *flow
}

func newMover(t *testing.T, sender string) *mover {
	t.Helper()
	m := &mover{world: newWorld(t, "ams", "fra", "nyc")}
	m.ams, m.fra, m.nyc = m.sites[0], m.sites[1], m.sites[2]
	m.set(m.owner("ams"))
	m.from, m.to = m.ams.pod(5, false), m.fra.pod(5, true)
	pods := map[string]*place{"ams": m.ams.pod(6, false), "fra": m.fra.pod(7, false), "nyc": m.nyc.pod(8, false)}
	m.cut = m.ams.cutover(5, m.fra)
	from := pods[sender]
	switch sender {
	case "client":
		from = m.attach("client", 250)
		m.wan.route(testCIDR.String(), m.ams.cfg.Underlay.String())
	case "host of ams":
		from = m.ams.place
	case "host of fra":
		from = m.fra.place
	}
	m.flow = from.flow(podAddr(5), m.from, 5000)
	m.flow.listen(m.to)
	m.flow.more(100)
	return m
}

func (m *mover) owner(node string) map[int]string {
	return map[int]string{5: node, 6: "ams", 7: "fra", 8: "nyc"}
}

// A whole move, with every kind of sender; nodes learn of the new owner one after the other, and the source's place goes in between.
func TestMoveLosesNothing(t *testing.T) {
	for _, sender := range []string{"ams", "fra", "nyc", "client", "host of ams", "host of fra"} {
		t.Run(sender, func(t *testing.T) {
			m := newMover(t, sender)
			require.NoError(t, m.cut.Divert())
			_, err := m.cut.Drain(t.Context(), 20*time.Millisecond)
			require.NoError(t, err)
			before := m.flow.count()
			require.NoError(t, m.cut.ShutEgress())
			pause(100 * time.Millisecond)
			require.Equal(t, before, m.flow.count(), "nothing goes to either place")
			m.set(m.owner("ams")) // reconcilers don't disturb
			pause(20 * time.Millisecond)
			require.Equal(t, before, m.flow.count())
			require.NoError(t, m.fra.r.Release(uidOf(5)))
			m.flow.more(100)
			for i, s := range []*site{m.fra, m.nyc, m.ams} {
				s.set(m.desired(m.owner("fra")))
				m.flow.more(100)
				if i == 1 {
					m.ams.remove(5) // while the source still believes that it is the owner
					m.flow.more(100)
				}
			}
			m.flow.complete()
			require.Zero(t, m.looped())
		})
	}
}

func TestDivertedPacketsKeepOrder(t *testing.T) {
	for _, sender := range []string{"ams", "fra", "nyc", "client"} {
		t.Run(sender, func(t *testing.T) {
			m := newMover(t, sender)
			require.NoError(t, m.cut.Divert())
			require.NoError(t, m.cut.Divert(), "twice")
			pause(100 * time.Millisecond)
			require.NoError(t, m.fra.r.Release(uidOf(5)))
			m.flow.more(100)
			m.flow.whole()
		})
	}
}

func TestUndivertBringsPacketsBack(t *testing.T) {
	m := newMover(t, "nyc")
	require.NoError(t, m.cut.Divert())
	require.NoError(t, m.cut.ShutEgress())
	require.NoError(t, m.cut.OpenEgress())
	require.NoError(t, m.cut.Undivert())
	require.NoError(t, m.cut.Undivert(), "twice")
	m.from.echo(80)
	m.nyc.reaches(podAddr(5), 80)
	require.NoError(t, m.fra.r.Release(uidOf(5)))
	m.flow.complete()
	m.fra.remove(5)
	m.nyc.reaches(podAddr(5), 80)
}

// The target's place goes before the source undiverts, against the rule: packets must not go round and round.
func TestTwoHostsThatDisagreeDontLoop(t *testing.T) {
	m := newMover(t, "nyc")
	require.NoError(t, m.cut.Divert())
	m.fra.remove(5)
	forwarded := m.ams.counter("Ip ForwDatagrams")
	pause(100 * time.Millisecond)
	m.set(m.owner("ams"))
	pause(100 * time.Millisecond)
	require.Less(t, m.ams.counter("Ip ForwDatagrams")-forwarded, 3*1000, "each packet is forwarded once by the source, and its error back")
	require.Zero(t, m.looped())
}

// Back where it came from: the old source has sent packets on, and now holds for the pod again.
func TestThereAndBack(t *testing.T) {
	m := newMover(t, "nyc")
	sites := []*site{m.ams, m.fra}
	for range 6 {
		from, to := sites[0], sites[1]
		cut := from.cutover(5, to)
		require.NoError(t, cut.Divert())
		require.NoError(t, cut.ShutEgress())
		require.NoError(t, to.r.Release(uidOf(5)))
		to.set(m.desired(m.owner(to.name)))
		from.remove(5)
		from.set(m.desired(m.owner(to.name)))
		m.flow.more(50)
		p := from.pod(5, true)
		m.flow.listen(p)
		sites[0], sites[1] = to, from
	}
	m.flow.complete()
	require.Zero(t, m.looped())
}

func TestRouterRestartsInAnyState(t *testing.T) {
	for _, state := range []string{"base", "held", "diverted"} {
		t.Run(state, func(t *testing.T) {
			m := newMover(t, "nyc")
			if state == "base" {
				require.NoError(t, m.fra.r.Release(uidOf(5)))
			} else if state == "diverted" {
				require.NoError(t, m.cut.Divert())
				require.NoError(t, m.fra.r.Release(uidOf(5)))
			} else {
				require.NoError(t, m.cut.Divert())
				before := m.flow.count()
				t.Cleanup(func() { require.Less(t, before, m.flow.count()) })
			}
			for range 3 {
				for _, s := range m.sites {
					require.NoError(t, s.r.Close())
					pause(20 * time.Millisecond)
					s.open()
					s.set(m.desired(m.owner("ams")))
				}
			}
			require.NoError(t, m.fra.r.Release(uidOf(5)))
			m.flow.whole()
		})
	}
}

// One reconciler a site runs all the time, with views old and new, while the pod's state changes.
func TestSetNeverDisturbsAMove(t *testing.T) {
	m := newMover(t, "nyc")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(m.sites))
	for _, s := range m.sites {
		go func() {
			var err error
			for err == nil && ctx.Err() == nil {
				err = s.r.Set(context.Background(), m.desired(m.owner("ams")))
			}
			done <- err
		}()
	}
	for range 20 {
		require.NoError(t, m.cut.Divert())
		pause(5 * time.Millisecond)
		require.NoError(t, m.fra.r.Release(uidOf(5)))
		m.flow.more(10)
		require.NoError(t, m.cut.Undivert())
		require.NoError(t, m.fra.r.Hold(uidOf(5)))
		m.flow.more(10)
	}
	cancel()
	for range m.sites {
		require.NoError(t, <-done)
	}
	require.NoError(t, m.fra.r.Release(uidOf(5)))
	m.flow.complete()
}

func TestCutoverIsRefused(t *testing.T) {
	w := newWorld(t, "ams", "fra")
	ams := w.sites[0]
	w.set(map[int]string{5: "ams"})
	_, err := ams.r.Cutover(uidOf(5), "fra")
	require.ErrorIs(t, err, ErrNoPod)
	ams.pod(5, false)
	_, err = ams.r.Cutover(uidOf(5), "ams")
	require.ErrorContains(t, err, "no peer")
	_, err = ams.r.Cutover(uidOf(5), "xxx")
	require.ErrorContains(t, err, "no peer")
	require.ErrorIs(t, ams.r.Hold("nobody"), ErrNoPod)
	require.ErrorIs(t, ams.r.Release("nobody"), ErrNoPod)
	cut := ams.cutover(5, w.sites[1])
	require.NoError(t, cut.Divert())
	_, err = ams.r.PreparePod(t.Context(), uidOf(5), podAddr(5), true)
	require.ErrorContains(t, err, "still stands here")
	_, err = ams.r.PreparePod(t.Context(), "other", podAddr(5), true)
	require.ErrorContains(t, err, "in use")
	_, err = ams.r.PreparePod(t.Context(), "other", netip.MustParseAddr("10.89.0.1"), true)
	require.ErrorContains(t, err, "not in the pod CIDR")
	_, err = ams.r.PreparePod(t.Context(), "../evil", podAddr(9), true)
	require.ErrorContains(t, err, "uid")
	require.ErrorContains(t, ams.r.RemovePod(t.Context(), "../evil"), "uid")
}
