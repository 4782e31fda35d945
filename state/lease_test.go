package state

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLeaseEndsByTheEarlierOfTwoClocks(t *testing.T) {
	const boot = time.Hour
	wall := time.Now() // its monotonic reading must not count
	l := Lease{Term: 1, Index: 7, Duration: 6 * time.Second, Boot: boot, Wall: wall}
	for name, c := range map[string]struct {
		boot, wall, left time.Duration // since the request was sent
	}{
		"at once":                            {0, 0, 6 * time.Second},
		"later":                              {2 * time.Second, 2 * time.Second, 4 * time.Second},
		"over":                               {6 * time.Second, 6 * time.Second, 0},
		"suspended, and the time of day not": {time.Minute, 0, 0},
		"paused, and set by the hypervisor":  {time.Second, time.Minute, 0},
		"the time of day is slow":            {3 * time.Second, 2400 * time.Millisecond, 3 * time.Second},
		"set back at once":                   {0, -600 * time.Millisecond, 6 * time.Second},
		"set back by more than the drift":    {time.Second, 399 * time.Millisecond, 0},
		"set back by far":                    {time.Second, -time.Hour, 0},
		"another boot":                       {-time.Minute, time.Second, 0},
	} {
		at := wall.Round(0).Add(c.wall)
		require.Equal(t, c.left, l.Left(boot+c.boot, at), name)
		require.Equal(t, c.left > 0, l.Valid(boot+c.boot, at, 7), name)
		require.False(t, l.Valid(boot+c.boot, at, 6), "%s, and the view lags", name)
	}
	endBoot, endWall := l.End()
	require.Zero(t, l.Left(endBoot, wall))
	require.Zero(t, l.Left(boot, endWall))
	require.Zero(t, Lease{}.Left(boot, wall))
	require.False(t, Lease{}.Valid(0, time.Time{}, 0))
}

func TestGrants(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	all := []string{"ams", "fra"}
	var g Grants
	require.False(t, g.Renew("ams", 0, at(0)), "it doesn't lead")
	require.Empty(t, g.GiveUp(all, at(1000)), "it doesn't lead")

	g.Begin(Reign{Server: "nyc", Term: 3, Lease: 6 * time.Second}, 6*time.Second, at(0))
	require.Empty(t, g.GiveUp(all, at(0)))
	require.True(t, g.Renew("ams", 3, at(2)))
	require.False(t, g.Renew("ams", 2, at(2)), "asked of an earlier reign")
	require.Empty(t, g.Late(all, at(7.5)), "a leader before may have granted one until it was elected")
	require.Equal(t, []string{"fra"}, g.Late(all, at(7.6)))
	require.Empty(t, g.Late([]string{"ams"}, at(7.6)))
	require.True(t, g.Renew("fra", 3, at(7.7)), "to be late is not to be given up")
	require.Equal(t, []string{"ams"}, g.GiveUp([]string{"ams", "fra"}, at(9.6)))
	require.False(t, g.Renew("ams", 3, at(9.7)))
	require.Equal(t, []string{"ams"}, g.GiveUp([]string{"ams"}, at(9.8)), "it stays given up")
	require.Equal(t, []string{"ams"}, g.GiveUp(all, at(100)), "fra has to hold one anew")
	require.Equal(t, []string{"ams", "fra"}, g.GiveUp(all, at(107.6)))

	g.Readmit(2, all)
	require.False(t, g.Renew("ams", 3, at(108)), "readmitted in an earlier reign")
	g.Readmit(3, []string{"ams"})
	require.True(t, g.Renew("ams", 3, at(108)))
	require.False(t, g.Renew("fra", 3, at(108)))
	require.Equal(t, []string{"fra"}, g.Late(all, at(109)))
}

func TestGrantsOfWhoHasToHoldOneOnlyNow(t *testing.T) {
	var g Grants
	start := time.Now()
	g.Begin(Reign{Term: 1, Lease: 2 * time.Second}, 0, start)
	later := start.Add(time.Hour)
	require.Empty(t, g.GiveUp([]string{"ams"}, later), "it gets the time to ask")
	require.Empty(t, g.GiveUp([]string{"ams"}, later.Add(TakeOverAfter(2*time.Second)-1)))
	require.Empty(t, g.GiveUp(nil, later.Add(time.Minute)))
	require.Empty(t, g.GiveUp([]string{"ams"}, later.Add(time.Minute)), "and anew, when it is asked to anew")
	require.Equal(t, []string{"ams"}, g.GiveUp([]string{"ams"}, later.Add(2*time.Minute)))
}

func TestGrantsWaitForLongerLeasesOfEarlierReigns(t *testing.T) {
	var g Grants
	start := time.Now()
	g.Begin(Reign{Term: 1, Lease: 2 * time.Second}, time.Minute, start)
	require.False(t, g.Settled(start.Add(time.Minute)))
	require.Empty(t, g.GiveUp([]string{"ams"}, start))
	require.Empty(t, g.GiveUp([]string{"ams"}, start.Add(TakeOverAfter(time.Minute)-1)))
	require.Equal(t, []string{"ams"}, g.GiveUp([]string{"ams"}, start.Add(TakeOverAfter(time.Minute))))
	require.True(t, g.Settled(start.Add(TakeOverAfter(time.Minute))))
}

func TestLeaseHolders(t *testing.T) {
	m := reserved(t)
	require.Equal(t, []string{"ams", "fra"}, m.View().LeaseHolders())
	require.True(t, m.Apply(Abort{Migration: "m-1"}).OK)
	require.Equal(t, []string{"ams"}, m.View().LeaseHolders())
	require.True(t, m.Apply(DeletePod{"redis", "u-1"}).OK)
	require.True(t, m.Apply(CreatePod{Name: "plain", UID: "u-2", Node: "fra", Containers: testContainers, Manifest: []byte(`{}`)}).OK)
	require.Empty(t, m.View().LeaseHolders())
}
