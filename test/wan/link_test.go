package wan

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

func TestLinkTransmitsThenDelays(t *testing.T) {
	l := NewLink(Conditions{Delay: 25 * ms, Rate: 12e6}, 1, 1) // 1500 bytes take 1 ms
	for i := range 3 {
		require.Equal(t, Passage{Arrival: time.Duration(i+1)*ms + 25*ms}, l.Enqueue(0, 1500))
	}
	require.Equal(t, Passage{Arrival: time.Second + 26*ms}, l.Enqueue(time.Second, 1500), "an idle link starts at once")
}

func TestLinkOfUnlimitedRateHasNoQueue(t *testing.T) {
	l := NewLink(Conditions{Delay: ms, Queue: 1}, 1, 1)
	for range 10000 {
		require.Equal(t, Passage{Arrival: ms}, l.Enqueue(0, 1500))
	}
}

func TestLinkQueueIsBounded(t *testing.T) {
	l := NewLink(Conditions{Rate: 12e6, Queue: 15000}, 1, 1)
	accepted := 0
	for range 100 {
		if fate := l.Enqueue(0, 1500).Fate; fate == Carried {
			accepted++
		} else {
			require.Equal(t, Overflow, fate)
		}
	}
	require.Equal(t, 10, accepted)
	require.Equal(t, Carried, l.Enqueue(ms, 1500).Fate, "one has left")
	require.Equal(t, Overflow, l.Enqueue(ms, 1500).Fate)

	tiny := NewLink(Conditions{Rate: 12e6, Queue: 100}, 1, 1)
	require.Equal(t, Carried, tiny.Enqueue(0, 1500).Fate, "what is larger than the queue passes when nothing waits")
}

func TestDefaultQueueIsOneBandwidthDelayProduct(t *testing.T) {
	require.EqualValues(t, 1250000, Conditions{Rate: 200e6, Delay: 25 * ms}.QueueBytes())
	require.EqualValues(t, minQueue, Conditions{Rate: 1e6, Delay: ms}.QueueBytes())
	require.EqualValues(t, 7, Conditions{Rate: 1e6, Queue: 7}.QueueBytes())
}

func TestLinkLosesByItsSeed(t *testing.T) {
	lost := func(seed uint64) (pattern []int) {
		l := NewLink(Conditions{Loss: 0.01}, seed, 1)
		for i := range 100000 {
			if l.Enqueue(0, 100).Fate == Lost {
				pattern = append(pattern, i)
			}
		}
		return pattern
	}
	first := lost(1)
	require.InDelta(t, 1000, len(first), 4*math.Sqrt(1000))
	require.Equal(t, first, lost(1))
	require.NotEqual(t, first, lost(2))
}

func TestLinkChangesAtRunTime(t *testing.T) {
	l := NewLink(Conditions{Rate: 12e6, Delay: 50 * ms}, 1, 1)
	for range 10 {
		l.Enqueue(0, 1500)
	}
	l.SetConditions(0, Conditions{Rate: 6e6, Delay: 50 * ms})
	arrival := l.Enqueue(0, 1500).Arrival
	require.Equal(t, 20*ms+2*ms+50*ms, arrival, "what waits counts at the new rate")

	l.SetConditions(0, Conditions{})
	require.Equal(t, arrival, l.Enqueue(0, 1500).Arrival, "a shorter wire doesn't reorder")

	l.SetConditions(0, Conditions{Cut: true})
	require.Equal(t, Severed, l.Enqueue(time.Second, 1500).Fate)
	l.SetConditions(time.Second, Conditions{})
	require.Equal(t, Passage{Arrival: time.Second}, l.Enqueue(time.Second, 1500))
}

func TestLinkHoldsItsRate(t *testing.T) {
	for _, rate := range []Rate{1e6, 33e6, 200e6, 1e9, 7e9} {
		l := NewLink(Conditions{Rate: rate}, 1, 1)
		var now, last time.Duration
		var bytes int
		for now < time.Second {
			if p := l.Enqueue(now, 1400); p.Fate == Carried {
				last, bytes = p.Arrival, bytes+1400
			} else {
				now += 20 * time.Microsecond
			}
		}
		require.InEpsilon(t, float64(rate), float64(bytes)*8/last.Seconds(), 0.005, "rate %v", rate)
	}
}
