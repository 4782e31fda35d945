package criu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWatcherYieldsFilesWhenTheyAreWhole(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "before"), nil, 0o600))
	w, err := Watch(context.Background(), dir)
	require.NoError(t, err)

	f, err := os.Create(filepath.Join(dir, "slow"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "quick"), []byte("x"), 0o600))
	require.Equal(t, "quick", <-w.Names(), "slow is still open")
	_, err = f.WriteString("all of it")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "slow", <-w.Names())

	for i := range 500 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600))
	}
	w.Finish()
	seen := map[string]int{}
	for name := range w.Names() {
		seen[name]++
	}
	require.NoError(t, w.Err())
	require.Len(t, seen, 501)
	require.Equal(t, 1, seen["before"])
	require.Equal(t, 1, seen["499"])
}

func TestWatcherEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	w, err := Watch(ctx, t.TempDir())
	require.NoError(t, err)
	cancel()
	for range w.Names() {
		t.Fatal("nothing was written")
	}
	require.ErrorIs(t, w.Err(), context.Canceled)
	_, err = Watch(ctx, filepath.Join(t.TempDir(), "none"))
	require.Error(t, err)
}

func FuzzParseEvents(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, e := range parseEvents(data) {
			require.LessOrEqual(t, len(e.name), len(data))
		}
	})
}
