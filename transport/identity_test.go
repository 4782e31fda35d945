package transport_test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/drover-mesh/drover/transport"
)

func TestInitMeshMakesFilesOthersCannotRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mesh")
	if err := transport.InitMesh(dir, "prod", []string{"ams", "fra"}); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{
		"ca.key": 0o600, "gossip.key": 0o600, "ca.crt": 0o644,
		"ams/node.key": 0o600, "ams/gossip.key": 0o600, "ams/node.crt": 0o644, "ams/ca.crt": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %o", name, info.Mode(), err, mode)
		}
	}
	ams, err := transport.LoadIdentity(filepath.Join(dir, "ams"))
	if err != nil {
		t.Fatal(err)
	}
	fra, err := transport.LoadIdentity(filepath.Join(dir, "fra"))
	if err != nil {
		t.Fatal(err)
	}
	if ams.Node != "ams" || fra.Node != "fra" || ams.Mesh != fra.Mesh || !strings.HasPrefix(ams.Mesh, "prod-") {
		t.Errorf("identities %s of %s and %s of %s", ams.Node, ams.Mesh, fra.Node, fra.Mesh)
	}
	if string(ams.GossipKey) != string(fra.GossipKey) || len(ams.GossipKey) != 32 {
		t.Error("gossip keys differ or are short")
	}
	if days := time.Until(ams.Expires).Hours() / 24; days < 89 || days > 91 {
		t.Errorf("the certificate is valid for %.0f days", days)
	}
}

func TestInitMeshOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := transport.InitMesh(dir, "prod", []string{"ams"}); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	for what, err := range map[string]error{
		"mesh again":     transport.InitMesh(dir, "prod", []string{"nyc"}),
		"node again":     transport.AddNode(dir, "ams"),
		"bad mesh name":  transport.InitMesh(t.TempDir(), "Prod", nil),
		"bad node name":  transport.AddNode(dir, "../x"),
		"empty name":     transport.AddNode(dir, ""),
		"twice the same": transport.InitMesh(t.TempDir(), "prod", []string{"a", "a"}),
		"no mesh here":   transport.AddNode(t.TempDir(), "nyc"),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
		if strings.HasSuffix(what, "again") && !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := contents(t, dir); after != before {
		t.Errorf("files changed:\n%s\n%s", before, after)
	}
	stray := t.TempDir()
	if err := os.Mkdir(filepath.Join(stray, "ams"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := transport.InitMesh(stray, "prod", []string{"ams"}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a directory in the way: %v", err)
	}
	if _, err := os.Stat(filepath.Join(stray, "ca.key")); err == nil {
		t.Error("a refused InitMesh left a key")
	}
}

func contents(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all.WriteString(path + "\n" + string(data) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestAddAndRenewNode(t *testing.T) {
	dir := t.TempDir()
	if err := transport.InitMesh(dir, "prod", nil); err != nil {
		t.Fatal(err)
	}
	if err := transport.AddNode(dir, "ams"); err != nil {
		t.Fatal(err)
	}
	if err := transport.Reissue(dir, "ams", "", "", time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := transport.RenewNode(dir, "ams"); err != nil {
		t.Fatal(err)
	}
	id, err := transport.LoadIdentity(filepath.Join(dir, "ams"))
	if err != nil || time.Until(id.Expires) < 24*time.Hour {
		t.Fatalf("%v, %v", id, err)
	}
}

func TestLoadIdentityRefusesWhatDoesNotFit(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(t *testing.T, ams, other string)
		want  string
	}{
		"key readable by others": {func(t *testing.T, ams, _ string) { try(t, os.Chmod(ams+"/node.key", 0o644)) }, "chmod 600"},
		"key of another node":    {func(t *testing.T, ams, other string) { try(t, os.Rename(other+"/node.key", ams+"/node.key")) }, "not the key"},
		"authority of another":   {func(t *testing.T, ams, other string) { try(t, os.Rename(other+"/ca.crt", ams+"/ca.crt")) }, "copy both from one mesh"},
		"no certificate":         {func(t *testing.T, ams, _ string) { try(t, os.Remove(ams+"/node.crt")) }, "no such file"},
		"garbage certificate":    {func(t *testing.T, ams, _ string) { try(t, os.WriteFile(ams+"/node.crt", []byte("x"), 0o600)) }, "PEM"},
		"short gossip key":       {func(t *testing.T, ams, _ string) { try(t, os.WriteFile(ams+"/gossip.key", []byte("eA=="), 0o600)) }, "32 bytes"},
	} {
		t.Run(what, func(t *testing.T) {
			dir, other := t.TempDir(), t.TempDir()
			try(t, transport.InitMesh(dir, "one", []string{"ams"}))
			try(t, transport.InitMesh(other, "two", []string{"ams"}))
			c.spoil(t, dir+"/ams", other+"/ams")
			if _, err := transport.LoadIdentity(dir + "/ams"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func load(t testing.TB, dir string) *transport.Identity {
	t.Helper()
	id, err := transport.LoadIdentity(dir)
	try(t, err)
	return id
}

func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Each stranger dials ams, and is dialled by ams. Both must fail, and say why.
func TestStrangersAreRefused(t *testing.T) {
	for what, c := range map[string]struct {
		make func(t *testing.T, m *mesh, ams *transport.Identity) *transport.Identity
		want string
	}{
		"another mesh": {func(t *testing.T, _ *mesh, _ *transport.Identity) *transport.Identity {
			dir := t.TempDir()
			try(t, transport.InitMesh(dir, "other", []string{"fra"}))
			return load(t, dir+"/fra")
		}, "node fra presented a certificate of mesh other-"},
		"another authority that claims this mesh": {func(t *testing.T, _ *mesh, ams *transport.Identity) *transport.Identity {
			dir := t.TempDir()
			try(t, transport.InitMesh(dir, "other", []string{"fra"}))
			try(t, transport.Reissue(dir, "fra", "", ams.Mesh, time.Now().Add(time.Hour)))
			id, err := transport.LoadForged(dir+"/fra", ams)
			try(t, err)
			return id
		}, "was not signed by the authority of mesh test-"},
		"expired": {func(t *testing.T, m *mesh, _ *transport.Identity) *transport.Identity {
			try(t, transport.Reissue(m.dir, "fra", "", "", time.Now().Add(-time.Minute)))
			return load(t, m.dir+"/fra")
		}, "the certificate of node fra expired at"},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMesh(t, "ams", "fra")
			ams := m.start(m.config("ams"))
			echo(t, ams, transport.API)
			config := m.config("fra")
			config.Identity = c.make(t, m, load(t, m.dir+"/ams"))
			fra := m.start(config)
			echo(t, fra, transport.API)

			_, err := ams.Dial(within(t, 10*time.Second), "fra", transport.API)
			if !errors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("dialled by ams: got %v, want %q", err, c.want)
			}
			start := time.Now()
			_, err = fra.Dial(within(t, 10*time.Second), "ams", transport.API)
			if !errors.Is(err, transport.ErrUnreachable) {
				t.Errorf("dialling ams: got %v", err)
			}
			t.Logf("dialling ams: %v", err)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("the refusal took %v", took)
			}
		})
	}
}

func TestAnotherNodeAnswers(t *testing.T) {
	m := newMesh(t, "ams", "fra", "nyc")
	ams, nyc := m.start(m.config("ams")), m.start(m.config("nyc"))
	m.route("fra", nyc.Addr())
	_, err := ams.Dial(within(t, 10*time.Second), "fra", transport.API)
	if !errors.Is(err, transport.ErrUnreachable) || !strings.Contains(err.Error(), "node nyc answered at the address of node fra") {
		t.Errorf("got %v", err)
	}
}

func TestClientsWithoutCertificateOrProtocolAreRefused(t *testing.T) {
	m := newMesh(t, "ams", "fra")
	ams := m.start(m.config("ams"))
	echo(t, ams, transport.API)
	proper := m.config("fra").Identity.TLS("ams")
	for what, config := range map[string]*tls.Config{
		"no certificate": {InsecureSkipVerify: true, NextProtos: proper.NextProtos},
		"other protocol": {InsecureSkipVerify: true, NextProtos: []string{"h3"}, Certificates: proper.Certificates},
	} {
		conn, err := quic.DialAddr(within(t, 10*time.Second), ams.Addr().String(), config, nil)
		if err == nil {
			_, err = conn.AcceptStream(within(t, 10*time.Second)) // the server closes after the client believes it's done
		}
		var refused *quic.TransportError
		if !errors.As(err, &refused) || !refused.ErrorCode.IsCryptoError() || !refused.Remote {
			t.Errorf("%s: got %v", what, err)
		}
	}
	conn := dial(t, m.start(m.config("fra")), "ams", transport.API)
	try(t, roundTrip(conn, "still serving"))
}

func TestInitMeshTwiceAtOnce(t *testing.T) {
	dir := t.TempDir()
	errs := make(chan error)
	for range 4 {
		go func() { errs <- transport.InitMesh(dir, "prod", []string{"ams", "fra"}) }()
	}
	won := 0
	for range 4 {
		if err := <-errs; err == nil {
			won++
		} else if !errors.Is(err, os.ErrExist) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Fatalf("%d calls made the mesh", won)
	}
	if a, b := load(t, dir+"/ams"), load(t, dir+"/fra"); a.Mesh != b.Mesh {
		t.Errorf("nodes of meshes %s and %s", a.Mesh, b.Mesh)
	}
}
