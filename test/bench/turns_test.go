package bench

import (
	"testing"
	"time"
)

// turns lets ours and theirs do the same work in turns, and reports the time each took and ours divided by
// theirs: below 1 drover is faster.
func turns(b *testing.B, ours, theirs func() error) {
	b.Helper()
	var took [2]time.Duration
	for b.Loop() {
		for i, work := range []func() error{ours, theirs} {
			start := time.Now()
			if err := work(); err != nil {
				b.Fatal(err)
			}
			took[i] += time.Since(start)
		}
	}
	report(b, took)
}

// report reports the times that ours and theirs took in all, each as one of b.N.
func report(b *testing.B, took [2]time.Duration) {
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
	b.ReportMetric(each(took[0]), "ours-ms")
	b.ReportMetric(each(took[1]), "theirs-ms")
	b.ReportMetric(float64(took[0])/float64(took[1]), "ours/theirs")
	b.ReportMetric(0, "ns/op")
}
