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
		arrival, fate := l.Enqueue(0, 1500)
		require.Equal(t, Carried, fate)
		require.Equal(t, time.Duration(i+1)*ms+25*ms, arrival)
	}
	arrival, _ := l.Enqueue(time.Second, 1500)
	require.Equal(t, time.Second+26*ms, arrival, "an idle link starts at once")
}

func TestLinkOfUnlimitedRateHasNoQueue(t *testing.T) {
	l := NewLink(Conditions{Delay: ms, Queue: 1}, 1, 1)
	for range 10000 {
		arrival, fate := l.Enqueue(0, 1500)
		require.Equal(t, Carried, fate)
		require.Equal(t, ms, arrival)
	}
}

func TestLinkQueueIsBounded(t *testing.T) {
	l := NewLink(Conditions{Rate: 12e6, Queue: 15000}, 1, 1)
	accepted := 0
	for range 100 {
		if _, fate := l.Enqueue(0, 1500); fate == Carried {
			accepted++
		} else {
			require.Equal(t, Overflow, fate)
		}
	}
	require.Equal(t, 10, accepted)
	_, fate := l.Enqueue(ms, 1500)
	require.Equal(t, Carried, fate, "one has left")
	_, fate = l.Enqueue(ms, 1500)
	require.Equal(t, Overflow, fate)

	tiny := NewLink(Conditions{Rate: 12e6, Queue: 100}, 1, 1)
	_, fate = tiny.Enqueue(0, 1500)
	require.Equal(t, Carried, fate, "what is larger than the queue passes when nothing waits")
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
			if _, fate := l.Enqueue(0, 100); fate == Lost {
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
	arrival, _ := l.Enqueue(0, 1500)
	require.Equal(t, 20*ms+2*ms+50*ms, arrival, "what waits counts at the new rate")

	l.SetConditions(0, Conditions{})
	next, _ := l.Enqueue(0, 1500)
	require.Equal(t, arrival, next, "a shorter wire doesn't reorder")

	l.SetConditions(0, Conditions{Cut: true})
	_, fate := l.Enqueue(time.Second, 1500)
	require.Equal(t, Severed, fate)
	l.SetConditions(time.Second, Conditions{})
	arrival, fate = l.Enqueue(time.Second, 1500)
	require.Equal(t, Carried, fate)
	require.Equal(t, time.Second, arrival)
}

func TestLinkHoldsItsRate(t *testing.T) {
	for _, rate := range []Rate{1e6, 33e6, 200e6, 1e9, 7e9} {
		l := NewLink(Conditions{Rate: rate}, 1, 1)
		var now, last time.Duration
		var bytes int
		for now < time.Second {
			if arrival, fate := l.Enqueue(now, 1400); fate == Carried {
				last, bytes = arrival, bytes+1400
			} else {
				now += 20 * time.Microsecond
			}
		}
		require.InEpsilon(t, float64(rate), float64(bytes)*8/last.Seconds(), 0.005, "rate %v", rate)
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"200mbit": 200e6, "1.5gbit": 1.5e9, "64kbit": 64e3, "8bit": 8, "unlimited": 0, " 1GBIT ": 1e9,
	} {
		got, err := ParseRate(text)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
		again, err := ParseRate(got.String())
		require.NoError(t, err)
		require.Equal(t, want, again, text)
	}
	for _, text := range []string{"", "200", "mbit", "-1mbit", "0mbit", "NaNmbit", "Infgbit", "1e99gbit", "5mbyte"} {
		_, err := ParseRate(text)
		require.ErrorContains(t, err, "want a number", text)
	}
}

func TestParseConditions(t *testing.T) {
	c, err := ParseConditions("200mbit/50ms")
	require.NoError(t, err)
	require.Equal(t, Conditions{Rate: 200e6, Delay: 25 * ms}, c)
	for _, text := range []string{"", "200mbit", "200mbit/", "x/50ms", "200mbit/-1ms", "200mbit/1h"} {
		_, err := ParseConditions(text)
		require.Error(t, err, text)
	}
}
