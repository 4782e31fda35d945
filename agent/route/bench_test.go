//go:build root

package route

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkCutover(b *testing.B) {
	w := newWorld(b, "ams", "fra")
	ams, fra := w.sites[0], w.sites[1]
	w.set(map[int]string{5: "ams"})
	ams.pod(5, false)
	cut := ams.cutover(5, fra)
	hold := func() error { return ams.r.Hold(uidOf(5)) }
	release := func() error { return ams.r.Release(uidOf(5)) }
	nothing := func() error { return nil }
	for _, op := range []struct {
		name     string
		do, undo func() error
	}{
		{"Divert", cut.Divert, cut.Undivert},
		{"ShutEgress", cut.ShutEgress, cut.OpenEgress},
		{"Hold", hold, release},
		{"ReleaseEmpty", release, hold},
		{"Look", func() error { _, err := cut.Drain(b.Context(), 0); return err }, nothing},
		{"Set", func() error { return ams.r.Set(b.Context(), w.desired(map[int]string{5: "ams"})) }, nothing},
	} {
		b.Run(op.name, func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, op.do())
				b.StopTimer()
				require.NoError(b, op.undo())
				b.StartTimer()
			}
		})
	}
}

func BenchmarkPod(b *testing.B) {
	w := newWorld(b, "ams")
	ams := w.sites[0]
	prepare := func() {
		_, err := ams.r.PreparePod(context.Background(), uidOf(5), podAddr(5), true)
		require.NoError(b, err)
	}
	b.Run("PreparePod", func(b *testing.B) {
		for b.Loop() {
			prepare()
			b.StopTimer()
			ams.remove(5)
			b.StartTimer()
		}
	})
	b.Run("RemovePod", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			prepare()
			b.StartTimer()
			ams.remove(5)
		}
	})
}
