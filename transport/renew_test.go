package transport_test

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drover-mesh/drover/transport"
)

func TestRenewedCertificatesAreUsedWithoutAPause(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	try(t, transport.Reissue(m.dir, "fra", "", "", time.Now().Add(time.Hour)))
	config := m.config("fra")
	ams, fra := m.start(m.config("ams")), m.start(config)
	echo(t, ams, transport.API)
	before := dial(t, fra, "ams", transport.API)
	try(t, roundTrip(before, "before"))

	was := config.Identity
	request, err := was.Request()
	try(t, err)
	key, err := transport.EnrolRequest{Request: request}.PublicKey()
	try(t, err)
	cert, err := transport.Certify(m.dir, "fra", 0, key)
	try(t, err)
	renewed, err := was.Renew(m.dir+"/fra", cert)
	try(t, err)
	try(t, fra.SetIdentity(renewed))
	if !renewed.Expires.After(was.Expires) || load(t, m.dir+"/fra").Expires != renewed.Expires {
		t.Errorf("valid until %v, then until %v", was.Expires, renewed.Expires)
	}
	try(t, roundTrip(before, "after"))
	// What is dialled from now on shows the new one.
	ams.Close()
	transport.AwaitSessions(within(t, 10*time.Second), fra, 0)
	again := m.start(m.config("ams"))
	l := again.Listener(transport.API)
	dial(t, fra, "ams", transport.API)
	conn, err := l.Accept()
	try(t, err)
	defer conn.Close()
	if until := transport.PeerExpires(conn.(*transport.Conn)); !until.Equal(renewed.Expires) {
		t.Errorf("the peer sees a certificate until %v, not %v", until, renewed.Expires)
	}
}

func TestRenewRefusesWhatDoesNotFit(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	try(t, transport.Reissue(m.dir, "fra", "", "", time.Now().Add(time.Hour)))
	id := load(t, m.dir+"/fra")
	request, err := id.Request()
	try(t, err)
	own, err := transport.EnrolRequest{Request: request}.PublicKey()
	try(t, err)
	before := contents(t, m.dir)
	for what, c := range map[string]struct {
		node       string
		generation uint64
		key        ed25519.PublicKey
	}{
		"another node":       {"ams", 0, own},
		"another generation": {"fra", 1, own},
		"another key":        {"fra", 0, newKey().Public().(ed25519.PublicKey)},
	} {
		cert, err := transport.Certify(m.dir, c.node, c.generation, c.key)
		try(t, err)
		if _, err := id.Renew(m.dir+"/fra", cert); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if _, err := id.Renew(m.dir+"/fra", []byte("x")); err == nil {
		t.Error("garbage was taken")
	}
	other := t.TempDir()
	try(t, transport.InitMesh(other, "other", nil))
	foreign, err := transport.Certify(other, "fra", 0, own)
	try(t, err)
	if _, err := id.Renew(m.dir+"/fra", foreign); err == nil || !strings.Contains(err.Error(), "certificate of mesh") {
		t.Errorf("of another mesh: %v", err)
	}
	if contents(t, m.dir) != before {
		t.Error("files changed")
	}
	if err := m.start(m.config("ams")).SetIdentity(id); err == nil {
		t.Error("a node took the identity of another")
	}
}

func TestRevokedNodesAreCutOffAndKeptOut(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	var removed atomic.Bool
	config := m.config("ams")
	config.Revoked = func(node string, generation uint64) string {
		if removed.Load() && node == "fra" && generation == 0 {
			return "the node was removed from the mesh"
		}
		return ""
	}
	ams, fra := m.start(config), m.start(m.config("fra"))
	echo(t, ams, transport.API)
	echo(t, fra, transport.API)
	there, back := dial(t, fra, "ams", transport.API), dial(t, ams, "fra", transport.API)
	try(t, roundTrip(there, "hello"))
	try(t, roundTrip(back, "hello"))

	ams.CloseRevoked()
	try(t, roundTrip(there, "still here"))
	removed.Store(true)
	ams.CloseRevoked()
	if err := roundTrip(there, "gone"); !errors.Is(err, transport.ErrLost) || !strings.Contains(err.Error(), "removed from the mesh") {
		t.Errorf("a revoked node goes on: %v", err)
	}
	if err := roundTrip(back, "gone"); err == nil {
		t.Error("the connection to a revoked node goes on")
	}
	if _, err := fra.Dial(within(t, 10*time.Second), "ams", transport.API); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("a revoked node comes back: %v", err)
	}
	if _, err := ams.Dial(within(t, 10*time.Second), "fra", transport.API); err == nil || !strings.Contains(err.Error(), "is revoked: the node was removed") {
		t.Errorf("a revoked node is dialled: %v", err)
	}
}

func TestGenerationsStandInCertificates(t *testing.T) {
	m := newMesh(t, "ams")
	for _, generation := range []uint64{0, 1, 1 << 60} {
		id := load(t, m.dir+"/ams")
		request, err := id.Request()
		try(t, err)
		key, err := transport.EnrolRequest{Request: request}.PublicKey()
		try(t, err)
		cert, err := transport.Certify(m.dir, "ams", generation, key)
		try(t, err)
		try(t, transport.PutCertificate(m.dir+"/ams", cert))
		if got := load(t, m.dir+"/ams").Generation; got != generation {
			t.Errorf("generation %d was read as %d", generation, got)
		}
		try(t, transport.RenewNode(m.dir, "ams"))
		if got := load(t, m.dir+"/ams").Generation; got != generation {
			t.Errorf("generation %d was renewed as %d", generation, got)
		}
	}
	for _, uri := range []string{
		"drover://m/node/ams?generation=0", "drover://m/node/ams?generation=-1", "drover://m/node/ams?generation=01", "drover://m/node/ams?generation=1&x=2",
		"drover://m/node/ams?gen=1", "drover://m/node/ams#1", "drover://u@m/node/ams", "drover://m/node/../ams", "drover://m/ca", "drover:///node/ams", "https://m/node/ams",
	} {
		if transport.NamesANode(uri) {
			t.Errorf("%s names a node", uri)
		}
	}
	if !transport.NamesANode("drover://m/node/ams?generation=18446744073709551615") {
		t.Error("the last generation is none")
	}
}
