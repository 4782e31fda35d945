package wan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
	c, err = ParseConditions("200mbit/50ms,jitter=5ms,unordered=yes,reorder=1%/3ms,loss=0.1%,duplicate=0.5%,corrupt=0.02,queue=100000")
	require.NoError(t, err)
	require.Equal(t, Conditions{Rate: 200e6, Delay: 25 * ms, Jitter: 5 * ms, Unordered: true, Reorder: 0.01, HoldBack: 3 * ms,
		Loss: 0.001, Duplicate: 0.005, Corrupt: 0.02, Queue: 100000}, c)
	for text, complaint := range map[string]string{
		"": "want RATE/RTT", "200mbit": "want RATE/RTT", "200mbit/": "round-trip time", "x/50ms": "rate",
		"200mbit/-1ms": "want 0 to 1m", "200mbit/1h": "want 0 to 1m", "200mbit/50ms,": "want KEY=VALUE", "200mbit/50ms,jitter": "want KEY=VALUE",
		"1mbit/1ms,jitter=5": "missing unit", "1mbit/1ms,jitter=-5ms": "want 0 to 1m", "1mbit/1ms,loss=0.1%,loss=1%": "each key once",
		"1mbit/1ms,loss=101%": "want a share", "1mbit/1ms,loss=NaN": "want a share", "1mbit/1ms,colour=red": "unknown key: want one of delay, jitter",
		"1mbit/1ms,unordered=perhaps": "neither yes nor no", "1mbit/1ms,reorder=1%/0ms": "reorders nothing", "1mbit/1ms,reorder=/5ms": "want a share",
	} {
		_, err := ParseConditions(text)
		require.ErrorContains(t, err, complaint, text)
	}
}

func TestParseChangeLeavesTheRest(t *testing.T) {
	before := Conditions{Delay: ms, Loss: 0.5, Reorder: 0.1, HoldBack: time.Second, Cut: true}
	change, err := ParseChange([]string{"jitter=5ms", "reorder=1%"})
	require.NoError(t, err)
	require.Equal(t, Conditions{Delay: ms, Jitter: 5 * ms, Loss: 0.5, Reorder: 0.01, HoldBack: defaultHoldBack, Cut: true}, change.Apply(before))
	change, err = ParseChange(nil)
	require.NoError(t, err)
	require.Equal(t, Change{}, change)
}
