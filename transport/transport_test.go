package transport_test

import (
	"io"
	"testing"

	"github.com/drover-mesh/drover/transport"
)

func TestStreamsOfEveryKind(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams, fra := m.start(m.config("ams")), m.start(m.config("fra"))
	for _, kind := range []transport.Kind{transport.Raft, transport.API, transport.Move, transport.Bulk, transport.Follow} {
		echo(t, ams, kind)
		echo(t, fra, kind)
		there, back := dial(t, ams, "fra", kind), dial(t, fra, "ams", kind)
		if err := roundTrip(there, "there"); err != nil {
			t.Fatal(kind, err)
		}
		if err := roundTrip(back, "back"); err != nil {
			t.Fatal(kind, err)
		}
		if there.Peer() != "fra" || back.Peer() != "ams" {
			t.Fatalf("peers are %s and %s", there.Peer(), back.Peer())
		}
		if err := there.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(there); err != nil || len(rest) != 0 {
			t.Fatalf("after CloseWrite: %q, %v", rest, err)
		}
	}
	if ams.RTT("fra") <= 0 || ams.BytesSent("fra") <= 0 || ams.RTT("nyc") != 0 {
		t.Fatalf("RTT %v, bytes %d", ams.RTT("fra"), ams.BytesSent("fra"))
	}
}
