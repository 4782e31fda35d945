package transport_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/drover-mesh/drover/transport"
)

func TestWarmFindsTheSpeedOfThePathOnce(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	product := 100e6 / 8 * 0.02 // of bandwidth and round trip
	link := newRelay(t, fra.Addr(), linkSpec{delay: 10 * time.Millisecond, rate: 100e6 / 8, queue: int(product)})
	m.route("fra", link.addr())

	sent, err := ams.Warm(within(t, 10*time.Second), "fra")
	if err != nil || sent == 0 {
		t.Fatal(sent, err)
	}
	if window := transport.CongestionWindow(ams); float64(window) < product/2 {
		t.Errorf("the window is %d bytes for a path of %.0f", window, product)
	}
	t.Logf("%d bytes sent, window %d", sent, transport.CongestionWindow(ams))
	if sent, err := ams.Warm(within(t, 10*time.Second), "fra"); err != nil || sent != 0 {
		t.Errorf("again: %d bytes, %v", sent, err)
	}
	kept, other := pair(t, ams, fra, transport.Bulk)
	before := transport.Sessions(ams)
	transport.ShrinkWindow(ams)
	if again, err := ams.Warm(within(t, 10*time.Second), "fra"); err != nil || again == 0 {
		t.Errorf("after losses: %d bytes, %v", again, err)
	}
	if now := transport.Sessions(ams); now != before+1 {
		t.Errorf("%d connections after %d", now, before)
	}
	_, err = kept.Write([]byte("x"))
	try(t, err)
	if _, err := other.Read(make([]byte, 1)); err != nil {
		t.Errorf("a stream on the replaced connection: %v", err)
	}
	_, err = kept.Write([]byte("the end"))
	try(t, err)
	try(t, kept.Close())
	if rest, err := io.ReadAll(other); err != nil || string(rest) != "the end" {
		t.Errorf("after the last stream of the replaced connection was closed: %q, %v", rest, err)
	}
	transport.AwaitSessions(within(t, 10*time.Second), ams, before)
	if now := transport.Sessions(ams); now != before {
		t.Errorf("%d connections after the replaced one should have ended, want %d", now, before)
	}
}

func TestWarmCountsWhatItSends(t *testing.T) {
	ams, _ := twoNodes(t)
	sent, err := ams.Warm(within(t, 10*time.Second), "fra")
	try(t, err)
	if got := ams.Stats("fra").PayloadSent; got != sent {
		t.Errorf("%d bytes are counted, %d were sent", got, sent)
	}
}

func TestWarmEndsOnAFastPathAndWithItsContext(t *testing.T) {
	ams, fra := twoNodes(t)
	if sent, err := ams.Warm(within(t, 10*time.Second), "fra"); err != nil || sent > 32<<20 {
		t.Errorf("loopback: %d bytes, %v", sent, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := fra.Warm(ctx, "ams"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestWarmKeepsToTheBulkRate(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	config := m.config("ams")
	config.BulkRate = 1 << 20
	ams := m.start(config)
	m.start(m.config("fra"))
	start := time.Now()
	sent, err := ams.Warm(within(t, 10*time.Second), "fra")
	if most := 64<<10 + int64(float64(config.BulkRate)*time.Since(start).Seconds()); err != nil || sent > most {
		t.Errorf("%d bytes where %d were allowed, %v", sent, most, err)
	}
}
