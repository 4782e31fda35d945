package wan

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pass sends n packets through a link, one each interval, and returns what became of them.
func pass(c Conditions, seed uint64, n int, interval time.Duration) []Passage {
	l := NewLink(c, seed, 1)
	passages := make([]Passage, n)
	for i := range passages {
		passages[i] = l.Enqueue(time.Duration(i)*interval, 100)
	}
	return passages
}

func TestJitterIsTruncatedNormal(t *testing.T) {
	const n = 200_000
	c := Conditions{Delay: 25 * ms, Jitter: 5 * ms, Unordered: true}
	var delays []float64 // in deviations from the mean
	for i, p := range pass(c, 1, n, ms) {
		delays = append(delays, float64(p.Arrival-time.Duration(i)*ms-c.Delay)/float64(c.Jitter))
	}
	var sum, squares float64
	inside := 0
	for _, x := range delays {
		sum += x
		squares += x * x
		if math.Abs(x) < 1 {
			inside++
		}
	}
	require.InDelta(t, 0, sum/n, 0.01, "mean")
	// A normal distribution that is cut off at 3 deviations has 0.98658 of its deviation, and 0.68453 within one of them.
	require.InDelta(t, 0.98658, math.Sqrt(squares/n), 0.01, "deviation")
	require.InDelta(t, 0.68453, float64(inside)/n, 0.005, "within one deviation")
	require.Less(t, slices.Max(delays), 3.0000001)
	require.Greater(t, slices.Min(delays), -3.0000001)
	require.Greater(t, slices.Max(delays), 2.9)
}

func TestJitterKeepsOrderUnlessAsked(t *testing.T) {
	const n = 50_000
	c := Conditions{Delay: 25 * ms, Jitter: 5 * ms}
	for _, interval := range []time.Duration{0, 10 * time.Microsecond, ms, 40 * ms} {
		ordered := pass(c, 1, n, interval)
		for i := 1; i < n; i++ {
			require.GreaterOrEqual(t, ordered[i].Arrival, ordered[i-1].Arrival, "interval %v", interval)
			require.GreaterOrEqual(t, ordered[i].Arrival, time.Duration(i)*interval+10*ms)
		}
	}
	// Far enough apart they are as late as they were drawn; close together they wait for the slowest.
	free := c
	free.Unordered = true
	require.Equal(t, pass(free, 1, 1000, time.Second), pass(c, 1, 1000, time.Second))
	overtook := 0
	passages := pass(free, 1, n, ms)
	for i := 1; i < n; i++ {
		if passages[i].Arrival < passages[i-1].Arrival {
			overtook++
		}
	}
	require.InDelta(t, 0.44*n, overtook, 0.02*n, "the difference of two delays of deviation 5 ms is often above 1 ms")
}

func TestJitterNeverArrivesBeforeItIsSent(t *testing.T) {
	for i, p := range pass(Conditions{Delay: ms, Jitter: 20 * ms, Unordered: true}, 1, 10_000, ms) {
		require.GreaterOrEqual(t, p.Arrival, time.Duration(i)*ms)
	}
}

func TestHeldBackPacketsAreOvertaken(t *testing.T) {
	const n = 100_000
	c := Conditions{Delay: 25 * ms, Jitter: ms, Reorder: 0.01, HoldBack: 10 * ms}
	plain := c
	plain.Reorder = 0
	held := 0
	ordered := pass(plain, 1, n, 100*time.Microsecond)
	for i, p := range pass(c, 1, n, 100*time.Microsecond) {
		if p.Arrival != ordered[i].Arrival {
			require.Equal(t, ordered[i].Arrival+10*ms, p.Arrival)
			held++
		}
	}
	require.InDelta(t, 0.01*n, held, 4*math.Sqrt(0.01*n))
}

func TestDuplicatesAndCorruption(t *testing.T) {
	const n = 100_000
	twice, corrupt := 0, 0
	bits := map[uint32]bool{}
	for _, p := range pass(Conditions{Duplicate: 0.02, Corrupt: 0.01}, 1, n, ms) {
		if p.Twice {
			twice++
		}
		if p.Corrupt {
			corrupt++
			bits[p.Bit%800] = true
		}
	}
	require.InDelta(t, 0.02*n, twice, 4*math.Sqrt(0.02*n))
	require.InDelta(t, 0.01*n, corrupt, 4*math.Sqrt(0.01*n))
	require.Greater(t, len(bits), 400, "any bit may be turned")
}

// All is by the seed, and one kind of trouble doesn't change the others.
func TestTroubleIsByTheSeed(t *testing.T) {
	all := Conditions{Delay: 25 * ms, Jitter: 5 * ms, Loss: 0.01, Reorder: 0.01, HoldBack: ms, Duplicate: 0.01, Corrupt: 0.01, Rate: 1e6}
	require.Equal(t, pass(all, 7, 10_000, ms), pass(all, 7, 10_000, ms))
	require.NotEqual(t, pass(all, 7, 10_000, ms), pass(all, 8, 10_000, ms))
	lost := func(c Conditions) (which []int) {
		for i, p := range pass(c, 7, 10_000, ms) {
			if p.Fate == Lost {
				which = append(which, i)
			}
		}
		return which
	}
	require.NotEmpty(t, lost(all))
	require.Equal(t, lost(Conditions{Loss: 0.01}), lost(all))
}
