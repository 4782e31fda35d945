package clocks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestClocksOfAHostThatStays(t *testing.T) {
	w := Start()
	var r Report
	require.Error(t, r.Complete())
	require.Eventually(t, func() bool {
		r = r.With(w.Report())
		return r.Complete() == nil
	}, 10*time.Second, 10*time.Millisecond)
	require.Len(t, r.Clocks, len(readers()))
	for name, c := range r.Clocks {
		require.Zero(t, c.Back, name)
		require.Greater(t, c.Samples, 10, name)
		require.Positive(t, c.Step, name)
	}
	for name, timer := range r.Timers {
		require.Zero(t, timer.Early, name)
		require.Empty(t, timer.Error, name)
		require.Less(t, timer.Late, period, name)
	}
	w.Report()
	require.Less(t, w.Report().Clocks["monotonic"].Samples, r.Clocks["monotonic"].Samples, "it begins anew")
}

// A clock that goes back or jumps is told.
func TestWhatGoesWrongIsSeen(t *testing.T) {
	w := &Watch{clocks: map[string]Clock{}, last: map[string]time.Duration{
		"vdso":     now(unix.CLOCK_MONOTONIC) + time.Hour,
		"boottime": now(unix.CLOCK_BOOTTIME) - time.Hour,
	}}
	go w.sample()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.clocks["vdso"].Back == 1 && w.clocks["boottime"].Step > time.Hour
	}, 5*time.Second, time.Millisecond)
}
