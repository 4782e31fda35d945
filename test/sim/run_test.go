package sim

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheSameSeedIsTheSameRun compares all that happens, event by event, of runs by themselves and of runs beside others.
func TestTheSameSeedIsTheSameRun(t *testing.T) {
	const seeds = 40
	sums := map[uint64]bool{}
	for seed := range uint64(seeds) {
		first, second := Once(seed, true), Once(seed, true)
		require.Equal(t, first.Trace, second.Trace, "seed %d", seed)
		require.Equal(t, first, second)
		require.NotEmpty(t, first.Trace)
		sums[first.Sum] = true
	}
	require.Len(t, sums, seeds, "two seeds are one run")
	for _, procs := range []int{1, 4} {
		before := runtime.GOMAXPROCS(procs)
		for _, r := range many(0, seeds, procs, false) {
			require.True(t, sums[r.Sum], "seed %d runs otherwise on %d processors", r.Seed, procs)
			require.Equal(t, Once(r.Seed, false), *r)
		}
		runtime.GOMAXPROCS(before)
	}
}

// TestRules runs as many seeds as a test may take. `make sim` runs more.
func TestRules(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 30
	}
	s := Many(0, seeds, runtime.GOMAXPROCS(0), false)
	if r := s.First; r != nil {
		t.Fatalf("seed %d broke the rule %q: %s; replay it: make sim SEED=%d", r.Seed, r.Violation.Rule, r.Violation.What, r.Seed)
	}
	for _, what := range []rarity{unknownOutcome, moved, abortWon, failedOver, fenceFired, movesTakenUp, lossReported} {
		require.Positive(t, s.Seen[string(what)], what)
	}
}
