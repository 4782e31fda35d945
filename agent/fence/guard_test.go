package fence

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fake is a freezer that stands still after it was looked at some times.
type fake struct {
	asked, slow int
	gone, froze bool
	closed      bool
}

func (f *fake) Order(still bool) error {
	if f.gone {
		return ErrGone
	}
	if still {
		f.asked++
	}
	f.froze = still
	return nil
}

func (f *fake) Still() (bool, error) {
	if f.gone {
		return false, ErrGone
	}
	if f.froze && f.slow > 0 {
		f.slow--
		return false, nil
	}
	return f.froze, nil
}

func (f *fake) Close() { f.closed = true }

// at is that many seconds after both clocks began.
func at(seconds float64) Instant {
	d := time.Duration(seconds * float64(time.Second))
	return Instant{Boot: d, Wall: int64(d)}
}

func TestGuardFreezesWhenTheLeaseEnds(t *testing.T) {
	g, f := NewGuard(), &fake{}
	g.lease = at(6)
	g.Hold("web", []Freezer{f})
	require.Zero(t, g.Look(at(5.999)), "nothing to do before the lease ends")
	require.False(t, f.froze)

	require.Equal(t, lookAgain, g.Look(at(6)))
	require.True(t, f.froze)
	require.Equal(t, []Held{{UID: "web", Frozen: true, Still: true, Since: int64(6 * time.Second), After: 1}}, g.held())
}

func TestGuardBelievesTheClockThatIsAhead(t *testing.T) {
	for name, now := range map[string]Instant{
		"the wall clock was set forward, or right after a pause": {Boot: time.Second, Wall: int64(7 * time.Second)},
		"the wall clock was set back":                            {Boot: 7 * time.Second, Wall: -int64(time.Hour)},
		"both went on in suspend":                                at(7),
	} {
		t.Run(name, func(t *testing.T) {
			g, f := NewGuard(), &fake{}
			g.lease = at(6)
			g.Hold("web", []Freezer{f})
			g.Look(at(1))
			g.Look(now)
			require.True(t, f.froze)
			require.Error(t, g.Thaw("web", now))
		})
	}
}

func TestGuardFreezesAtOnceWithoutALease(t *testing.T) {
	g, f := NewGuard(), &fake{}
	g.Hold("web", []Freezer{f})
	g.Look(at(1))
	require.True(t, f.froze)
	require.Zero(t, g.held()[0].After, "it was under no lease")
}

func TestGuardNeverThawsByItself(t *testing.T) {
	g, f := NewGuard(), &fake{}
	g.lease = at(6)
	g.Hold("web", []Freezer{f})
	g.Look(at(1))
	g.Look(at(7))
	g.lease = at(12)
	require.Equal(t, lookAgain, g.Look(at(8)))
	require.True(t, f.froze, "a lease is no order to thaw")

	require.Error(t, g.Thaw("db", at(8)), "not under the fence")
	require.NoError(t, g.Thaw("web", at(8)))
	require.False(t, f.froze)
	require.Zero(t, g.Look(at(9)))
	g.Look(at(12))
	require.True(t, f.froze, "the next end freezes again")
}

func TestGuardAsksUntilThePodStandsStill(t *testing.T) {
	g, f := NewGuard(), &fake{slow: 3}
	g.lease = at(6)
	g.Hold("web", []Freezer{f})
	g.Look(at(1))
	for i := range 3 {
		require.Equal(t, lookSoon, g.Look(at(6+float64(i)/1000)), "look %d", i)
		require.False(t, g.held()[0].Still)
		require.True(t, g.held()[0].Frozen)
	}
	require.Equal(t, lookAgain, g.Look(at(6.25)))
	require.Equal(t, 4, f.asked)
	require.Equal(t, 250*time.Millisecond, g.held()[0].After)
}

func TestGuardUndoesTheThawOfOthers(t *testing.T) {
	g, f := NewGuard(), &fake{}
	g.Hold("web", []Freezer{f})
	g.Look(at(1))
	f.froze = false
	require.Equal(t, lookAgain, g.Look(at(2)))
	require.True(t, f.froze)
	require.Equal(t, 1, g.held()[0].Undone)
}

func TestGuardTakesNewFreezers(t *testing.T) {
	g, before, after := NewGuard(), &fake{}, &fake{}
	g.Hold("web", []Freezer{before})
	g.Look(at(1))
	g.Hold("web", []Freezer{after})
	require.True(t, before.closed)
	g.Look(at(2))
	require.True(t, after.froze, "what was made anew is as frozen as what was there")
	require.Zero(t, g.held()[0].Undone)
}

// A wall clock that was set back by minutes would not tell that the machine was paused for seconds.
func TestGuardNoticesAPauseAfterTheClockWasSetBack(t *testing.T) {
	g, f := NewGuard(), &fake{}
	g.Hold("web", []Freezer{f})
	g.Look(at(0))
	g.Renew(at(6), at(0))
	require.NoError(t, g.Thaw("web", at(0)))
	f.froze = false
	back := func(boot, wall float64) Instant { return Instant{Boot: at(boot).Boot, Wall: at(wall - 100).Wall} }
	g.Look(back(1, 1))
	require.False(t, f.froze, "the clock alone ends no lease")
	require.Equal(t, 5*time.Second, g.Left(back(1, 1)))
	g.Look(back(2, 7)) // paused for five seconds
	require.True(t, f.froze)
	require.LessOrEqual(t, g.Left(back(2, 7)), time.Duration(0))

	g.Renew(back(8, 13), back(2, 7))
	require.Equal(t, 6*time.Second, g.Left(back(2, 7)), "a later lease is by the new time")
}

func TestGuardBearsThatACgroupIsGone(t *testing.T) {
	g, f := NewGuard(), &fake{gone: true}
	g.Hold("web", []Freezer{f})
	require.Equal(t, lookAgain, g.Look(at(1)))
	require.True(t, g.held()[0].Still)
	g.lease = at(6)
	require.NoError(t, g.Thaw("web", at(2)))
	g.Drop("web")
	g.Drop("web")
	require.Empty(t, g.held())
	require.True(t, f.closed)
}

func TestGuardLooksWithoutMemory(t *testing.T) {
	g := NewGuard()
	for _, uid := range []string{"a", "b", "c"} {
		g.Hold(uid, []Freezer{&fake{slow: 1}, &fake{}})
	}
	now := at(1)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, p := range g.pods { // each run freezes all of them
			p.state.Frozen, p.state.Still = false, false
		}
		g.Look(now)
	}))
}

func TestGoneIsNoOtherError(t *testing.T) {
	require.NoError(t, goneOr(nil))
	require.NotErrorIs(t, goneOr(errors.New("disk")), ErrGone)
}
