package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSampleIsSpreadAndRepeats(t *testing.T) {
	o := options{cases: len(faults()), seed: 5}
	sample := choose(allCases(), o)
	require.Len(t, sample, o.cases)
	again := choose(allCases(), o)
	require.NotEqual(t, names(sample), names(choose(allCases(), options{cases: o.cases, seed: 6})))
	require.Equal(t, names(sample), names(again))
	struck, stopped := map[string]int{}, map[point]int{}
	for _, c := range sample {
		struck[c.fault.name]++
		stopped[c.point]++
	}
	require.GreaterOrEqual(t, len(struck), len(faults())-2, "hardly a fault comes twice")
	require.GreaterOrEqual(t, len(stopped), o.cases-2, "nor does a point")
}

func names(cases []testCase) (all []string) {
	for _, c := range cases {
		all = append(all, c.name())
	}
	return all
}

func TestEachCaseIsThereOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range names(choose(allCases(), options{})) {
		require.False(t, seen[name], name)
		seen[name] = true
	}
	require.Len(t, choose(allCases(), options{only: "source.seized x criu"}), 1)
	require.Empty(t, choose(allCases(), options{only: "no such case"}))
	require.False(t, seen["source.preflight x criu"], "no CRIU is at work there")
}

func TestWhatAPodSurvives(t *testing.T) {
	for _, c := range []struct {
		point point
		loses end
		want  bool
	}{
		{"source.dumped", source, false}, {"target.restore", source, true}, {"target.retire", source, true},
		{"source.preflight", target, true}, {"target.resume", target, true}, {"target.release", target, false},
		{"target.release", "", true},
	} {
		require.Equal(t, c.want, testCase{c.point, fault{loses: c.loses}}.survives(), "%s, %s lost", c.point, c.loses)
	}
}

// What is looked at to say that a pod runs: a cgroup with a process that is there, and thawed.
func TestRuns(t *testing.T) {
	group := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(group, name), []byte(text), 0o600))
	}
	require.False(t, runs(group), "no process")
	write("cgroup.procs", strconv.Itoa(os.Getpid())+"\n")
	write("freezer.state", "THAWED\n")
	require.True(t, runs(group))
	write("freezer.state", "FREEZING\n")
	require.True(t, runs(group), "some of it may still run")
	write("freezer.state", "FROZEN\n")
	require.False(t, runs(group))
	require.NoError(t, os.Remove(filepath.Join(group, "freezer.state")))
	write("cgroup.events", "populated 1\nfrozen 0\n")
	require.True(t, runs(group))
	write("cgroup.events", "populated 1\nfrozen 1\n")
	require.False(t, runs(group))
}

func TestSumsCountCases(t *testing.T) {
	broken := result{Hit: true, TwoRunning: []string{"a", "b"}, LostAck: 7, Reset: true, Leaks: []string{"x", "y"}, Stuck: true}
	broken.fail("all of it")
	s, failed := summarise([]result{{Hit: true}, broken, {}})
	require.Equal(t, summary{Cases: 3, Hit: 2, TwoRunning: 1, LostAck: 1, Resets: 1, Leaks: 1, Stuck: 1}, s)
	require.Equal(t, 2, failed, "the one that was not hit failed too")
}

// One slope for all lives, each with its own level; what an agent uses in its first moments doesn't count.
func TestSlopes(t *testing.T) {
	var g growth
	for l, level := range []float64{100, 500} {
		life := g.life("ams", l)
		for minute := range 30 {
			at := (time.Duration(l)*time.Hour + time.Duration(minute)*time.Minute).Hours()
			values := make([]float64, len(usages()))
			for i := range values {
				values[i] = level
			}
			values[2] = level + 240*at // goroutines
			if minute == 0 {
				values[1] = 1e6
			}
			life.samples = append(life.samples, sample{at, values})
		}
	}
	slopes := g.slopes()
	require.InDelta(t, 0, slopes[1].PerHour, 1e-6)
	require.False(t, slopes[1].steep())
	require.InDelta(t, 240, slopes[2].PerHour, 1e-6)
	require.True(t, slopes[2].steep())
	require.Equal(t, 58, slopes[2].Samples)
}
