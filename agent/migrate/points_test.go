package migrate

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func (w *world) reach(_ context.Context, point string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.points = append(w.points, point)
}

// A drill can stop a move at each of these, in this order at either end.
func TestMoveComesToItsPoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		require.NoError(t, w.move(context.Background(), func(Progress) {}))
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		at := func(role Role, points ...string) (all []string) {
			for _, p := range points {
				all = append(all, string(role)+"."+p)
			}
			return all
		}
		of := func(role Role) []string {
			var came []string
			for _, p := range w.points {
				if p[:len(role)] == string(role) && !slices.Contains(came, p) {
					came = append(came, p)
				}
			}
			return came
		}
		require.Equal(t, at(AsSource, "preflight", "reserve", "presync", "freeze", "final", seized, dumped, "restore", "activate", "release", "retire"), of(AsSource))
		// The mesh agrees while the pod is restored.
		beside := func(points []string) []string {
			return slices.DeleteFunc(points, func(p string) bool { return p == "target.activate" })
		}
		require.Contains(t, w.points, "target.activate")
		require.Equal(t, at(AsTarget, "preflight", "reserve", "presync", "final", "restore", gate, resume, "release", complete, "retire"), beside(of(AsTarget)))
	})
}
