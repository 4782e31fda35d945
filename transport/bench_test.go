package transport_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/drover-mesh/drover/transport"
)

// transfer sends n bytes on a new bulk stream and returns how long it took until the peer had them all.
func transfer(tb testing.TB, from, to *transport.Transport, n int64) time.Duration {
	tb.Helper()
	start := time.Now()
	a, b := pair(tb, from, to, transport.Bulk)
	go func() {
		chunk := make([]byte, 1<<20)
		for left := n; left > 0; left -= int64(len(chunk)) {
			if _, err := a.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
				return
			}
		}
		_ = a.CloseWrite()
	}()
	buffer := make([]byte, 1<<20)
	var got int64
	for {
		m, err := b.Read(buffer)
		got += int64(m)
		if errors.Is(err, io.EOF) && got == n {
			break
		}
		if err != nil {
			tb.Fatal(got, err)
		}
	}
	took := time.Since(start)
	_ = a.Close()
	_ = b.Close()
	return took
}

// BenchmarkLoopback is CPU-bound: both ends are in this process.
func BenchmarkLoopback(b *testing.B) {
	ams, fra := twoNodes(b)
	const size = 256 << 20
	b.SetBytes(size)
	for b.Loop() {
		transfer(b, ams, fra, size)
	}
}

// BenchmarkWAN sends 16 MiB over 200 Mbit/s and 50 ms with a queue of one bandwidth-delay product: on a new
// connection, on the same one again, and on a new one after Warm. It reports the share of the link's rate
// that the payload got, latency included.
func BenchmarkWAN(b *testing.B) {
	const size = 16 << 20
	link := linkSpec{delay: 25 * time.Millisecond, rate: 200e6 / 8, queue: 200e6 / 8 / 20}
	var cold, again, warmed, padding float64
	for b.Loop() {
		for _, warm := range []bool{false, true} {
			m := newMesh(b, "ams", "fra")
			ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
			r := newRelay(b, fra.Addr(), link)
			m.route("fra", r.addr())
			share := func() float64 { return 100 * size / link.rate / transfer(b, ams, fra, size).Seconds() }
			if warm {
				sent, err := ams.Warm(within(b, 10*time.Second), "fra")
				try(b, err)
				padding += float64(sent)
				<-time.After(200 * time.Millisecond) // the queue drains: that is not what is measured
				warmed += share()
			} else {
				cold += share()
				again += share()
			}
		}
	}
	n := float64(b.N)
	b.ReportMetric(cold/n, "cold-%")
	b.ReportMetric(again/n, "again-%")
	b.ReportMetric(warmed/n, "warmed-%")
	b.ReportMetric(padding/n/(1<<20), "padding-MiB")
	b.ReportMetric(0, "ns/op")
}
