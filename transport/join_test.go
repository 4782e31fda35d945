package transport_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drover-mesh/drover/transport"
)

// founded is a mesh of one node, ams, that answers those who want to enrol.
type founded struct {
	t     *testing.T
	dir   string
	id    *transport.Identity
	node  *transport.Transport
	token transport.Token
}

// found starts a mesh. answer says what strangers, and nodes, are answered; the default admits everybody.
func found(t *testing.T, answer func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer) *founded {
	t.Helper()
	noStrays(t)
	return foundBeside(t, answer)
}

// foundBeside is found for a test that has a mesh already.
func foundBeside(t *testing.T, answer func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer) *founded {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ams")
	try(t, transport.Found(dir, "prod", "ams"))
	m := &mesh{t: t, addrs: map[string]netip.AddrPort{}}
	m.watch(patience)
	f := &founded{t: t, dir: dir, id: load(t, dir)}
	f.node = m.start(transport.Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Identity: f.id, Resolve: m.resolve, Log: quiet()})
	f.token = transport.NewToken(f.id.Fingerprint())
	if answer == nil {
		answer = (*founded).admit
	}
	f.serve(answer)
	return f
}

func (f *founded) serve(answer func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer) {
	l := f.node.Listener(transport.Enrol)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conn := c.(*transport.Conn)
			wg.Go(func() {
				defer conn.Close()
				r, err := transport.ReadEnrolRequest(conn)
				if err == nil {
					err = answer(f, conn, r).Write(conn)
				}
				if err != nil && !errors.Is(err, transport.ErrLost) {
					f.t.Log(err)
				}
			})
		}
	})
	f.t.Cleanup(func() {
		l.Close()
		f.node.Close()
		wg.Wait()
	})
}

// admit answers with all that a server gets.
func (f *founded) admit(_ *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
	key, err := r.PublicKey()
	try(f.t, err)
	cert, err := f.id.Authority.Certify(r.Node, 1, key)
	try(f.t, err)
	secret, err := f.id.Authority.Key()
	try(f.t, err)
	return transport.EnrolAnswer{
		Certificate: cert, Authority: f.id.AuthorityCertificate(), AuthorityKey: secret, GossipKey: f.id.GossipKey,
		Settings: transport.Settings{
			Server: true, PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), OverlayVNI: 4088, OverlayPort: 4789,
			Gossip: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7946")},
		},
	}
}

func (f *founded) config() transport.JoinConfig {
	return transport.JoinConfig{Token: f.token, Addr: f.node.Addr(), Node: "fra", Key: newKey()}
}

func newKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func TestAHostJoinsAndIsANodeThen(t *testing.T) {
	var got transport.EnrolRequest
	f := found(t, func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
		got = r
		if c.Peer() != "" {
			t.Errorf("a stranger is taken for %s", c.Peer())
		}
		return f.admit(c, r)
	})
	echo(t, f.node, transport.API)
	a, err := transport.Join(within(t, 20*time.Second), f.config())
	try(t, err)
	if id, hash, err := got.Token(); err != nil || id != f.token.ID() || hash != f.token.Hash() {
		t.Errorf("the request's token is %s, %s, %v", id, hash, err)
	}
	if a.By != "ams" || a.Mesh != f.id.Mesh || !a.Settings.Server {
		t.Errorf("%+v", a)
	}
	dir := filepath.Join(t.TempDir(), "identity")
	try(t, a.Write(dir))
	id := load(t, dir)
	if id.Node != "fra" || id.Generation != 1 || id.Authority == nil || id.Fingerprint() != f.id.Fingerprint() || !bytes.Equal(id.GossipKey, f.id.GossipKey) {
		t.Errorf("%+v", id)
	}
	if err := a.Write(dir); err == nil {
		t.Error("an identity was overwritten")
	}
	fra, err := transport.Listen(transport.Config{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Identity: id, Log: quiet(),
		Resolve: func(string) (netip.AddrPort, error) { return f.node.Addr(), nil }})
	try(t, err)
	t.Cleanup(func() { fra.Close() })
	try(t, roundTrip(dial(t, fra, "ams", transport.API), "hello"))
}

// Each answer, or mesh, is one that a host must not join, and why.
func TestJoinRefuses(t *testing.T) {
	for what, c := range map[string]struct {
		answer func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer
		config func(t *testing.T, f *founded, c *transport.JoinConfig)
		code   string
		want   string
	}{
		"refused": {answer: func(*founded, *transport.Conn, transport.EnrolRequest) transport.EnrolAnswer {
			return transport.EnrolAnswer{Refusal: &transport.Refusal{Code: "not_found", Why: "who are you", Cure: "tell"}}
		}, code: "not_found", want: "who are you"},
		"token of another mesh": {config: func(_ *testing.T, _ *founded, c *transport.JoinConfig) { c.Token = aToken() },
			code: "failed_precondition", want: "not of the mesh that made the token, or somebody stands in between"},
		"certificate of another name": {answer: func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
			r.Node = "nyc"
			return f.admit(c, r)
		}, code: "internal", want: "the certificate is that of drover://prod-"},
		"certificate for another key": {answer: func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
			a := f.admit(c, r)
			a.Certificate, _ = f.id.Authority.Certify(r.Node, 1, newKey().Public())
			return a
		}, code: "internal", want: "another key"},
		"garbage for a certificate": {answer: func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
			a := f.admit(c, r)
			a.Certificate = []byte("x")
			return a
		}, code: "internal", want: "x509"},
		"another authority": {answer: func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
			a := f.admit(c, r)
			a.Authority = a.Certificate
			return a
		}, code: "internal", want: "not the one that its certificate is of"},
		"another authority's key": {answer: func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
			a := f.admit(c, r)
			a.AuthorityKey, _ = x509.MarshalPKCS8PrivateKey(newKey())
			return a
		}, code: "internal", want: "not the key of the authority"},
		"short gossip key": {answer: func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
			a := f.admit(c, r)
			a.GossipKey = a.GossipKey[:31]
			return a
		}, code: "internal", want: "the gossip key has 31 bytes"},
		"no settings": {answer: func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
			a := f.admit(c, r)
			a.Settings = transport.Settings{}
			return a
		}, code: "internal", want: "no network for pods"},
	} {
		t.Run(what, func(t *testing.T) {
			f := found(t, c.answer)
			config := f.config()
			if c.config != nil {
				c.config(t, f, &config)
			}
			_, err := transport.Join(within(t, 20*time.Second), config)
			var refused *transport.JoinError
			if !errors.As(err, &refused) || refused.Code != c.code || !strings.Contains(refused.Why, c.want) || refused.Unknown {
				t.Errorf("got %+v (%v), want %s: %q", refused, err, c.code, c.want)
			}
		})
	}
}

// A node of another mesh stands at the address, and must never see the secret.
func TestTheSecretGoesToTheRightMeshOnly(t *testing.T) {
	f := found(t, func(*founded, *transport.Conn, transport.EnrolRequest) transport.EnrolAnswer {
		t.Error("the wrong mesh was asked")
		return transport.EnrolAnswer{}
	})
	config := f.config()
	config.Token = aToken()
	if _, err := transport.Join(within(t, 20*time.Second), config); err == nil {
		t.Error("joined")
	}
}

func TestTheClockOfTheJoiningHost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ams")
	try(t, transport.Found(dir, "prod", "ams"))
	id := load(t, dir)
	token := transport.NewToken(id.Fingerprint())
	if err := token.VerifyAt(id, time.Now()); err != nil {
		t.Fatal(err)
	}
	for by, want := range map[time.Duration]string{-2 * time.Hour: "not valid before", transport.NodeLifetime + time.Hour: "expired at"} {
		err := token.VerifyAt(id, time.Now().Add(by))
		if err == nil || !strings.Contains(err.Why, want) || !strings.Contains(err.Why, "this host says") {
			t.Errorf("a clock that is %v off: %v", by, err)
		}
	}
	now := time.Now()
	for by, want := range map[time.Duration]string{-2 * time.Hour: "2h0m0s behind", 2 * time.Hour: "2h0m0s ahead", 50 * time.Minute: "", -50 * time.Minute: ""} {
		got := transport.EnrolRequest{Time: now.Add(by)}.ClockTooFar(now)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("a request from a clock that is %v off: %q", by, got)
		}
	}
}

// The answer is lost twice.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	asked := 0
	f := found(t, func(f *founded, c *transport.Conn, r transport.EnrolRequest) transport.EnrolAnswer {
		if asked++; asked < 3 {
			c.Reset(transport.FirstUserCode)
		}
		return f.admit(c, r)
	})
	config := f.config()
	waits := 0
	config.Waiting = func(string) { waits++ }
	_, err := transport.Join(within(t, 30*time.Second), config)
	try(t, err)
	if asked != 3 || waits != 2 {
		t.Errorf("asked %d times, waited %d times", asked, waits)
	}
}

func TestALostAnswerIsSaidToBeUnknown(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t, 30*time.Second))
	f := found(t, func(_ *founded, c *transport.Conn, _ transport.EnrolRequest) transport.EnrolAnswer {
		c.Reset(transport.FirstUserCode)
		cancel()
		return transport.EnrolAnswer{}
	})
	_, err := transport.Join(ctx, f.config())
	var failed *transport.JoinError
	if !errors.As(err, &failed) || !failed.Unknown || failed.Code != "unavailable" {
		t.Errorf("got %+v", failed)
	}
}

func TestNobodyAnswers(t *testing.T) {
	f := found(t, nil)
	config := f.config()
	config.Addr = netip.MustParseAddrPort("127.0.0.1:9")
	_, err := transport.Join(within(t, time.Second), config)
	var failed *transport.JoinError
	if !errors.As(err, &failed) || failed.Unknown || failed.Code != "unavailable" || !strings.Contains(failed.Why, "127.0.0.1:9 does not answer") {
		t.Errorf("got %+v", failed)
	}
}

func TestReferrals(t *testing.T) {
	able := found(t, nil)
	var places atomic.Pointer[[]transport.Place] // an answer may be under way when its asker has given up
	plain := foundBeside(t, func(*founded, *transport.Conn, transport.EnrolRequest) transport.EnrolAnswer {
		return transport.EnrolAnswer{Elsewhere: *places.Load()}
	})
	config := able.config()
	config.Addr = plain.node.Addr()
	config.Token.Authority = plain.id.Fingerprint() // not that of able
	places.Store(&[]transport.Place{{Node: "ams", Addr: able.node.Addr()}})
	_, err := transport.Join(within(t, 20*time.Second), config)
	if err == nil || !strings.Contains(err.Error(), "not of the mesh") {
		t.Errorf("referred to another mesh: %v", err)
	}
	places.Store(&[]transport.Place{{Node: "ams", Addr: plain.node.Addr()}}) // to itself
	_, err = transport.Join(within(t, time.Second), config)
	if err == nil || !strings.Contains(err.Error(), "none of them answers") {
		t.Errorf("referred in a circle: %v", err)
	}
}

// Strangers may open one stream, of one kind.
func TestStrangersGetNothingElse(t *testing.T) {
	f := found(t, nil)
	echo(t, f.node, transport.API)
	for _, kind := range []transport.Kind{transport.Raft, transport.API, transport.Move, transport.Bulk, 0x7f} {
		if err := transport.Knock(within(t, 10*time.Second), f.token, f.node.Addr(), kind); err == nil {
			t.Errorf("a stranger got a %s stream", kind)
		}
	}
	try(t, transport.Knock(within(t, 10*time.Second), f.token, f.node.Addr(), transport.Enrol))
}

func TestKeysOtherThanEd25519AreRefused(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	try(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	try(t, err)
	if _, err := (transport.EnrolRequest{Request: der}).PublicKey(); err == nil || !strings.Contains(err.Error(), "not Ed25519") {
		t.Errorf("got %v", err)
	}
	der[len(der)-1] ^= 1
	if _, err := (transport.EnrolRequest{Request: der}).PublicKey(); err == nil || !strings.Contains(err.Error(), "isn't signed") {
		t.Errorf("got %v", err)
	}
}

func FuzzReadEnrolRequest(f *testing.F) {
	var b bytes.Buffer
	_ = transport.EnrolRequest{Secret: make([]byte, 16), Node: "fra", Request: []byte("x"), Time: time.Unix(1, 0)}.Write(&b)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := transport.ReadEnrolRequest(bytes.NewReader(data))
		if err != nil {
			return
		}
		if key, err := r.PublicKey(); err == nil && len(key) != ed25519.PublicKeySize {
			t.Errorf("a key of %d bytes", len(key))
		}
		if _, hash, err := r.Token(); err == nil && hash.Validate() != nil {
			t.Errorf("hash %s", hash)
		}
		_ = r.ClockTooFar(time.Now())
	})
}

func FuzzReadEnrolAnswer(f *testing.F) {
	var b bytes.Buffer
	_ = transport.EnrolAnswer{Refusal: &transport.Refusal{Code: "x"}}.Write(&b)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := transport.ReadEnrolAnswer(bytes.NewReader(data)); err == nil && a.Refusal == nil && a.Elsewhere == nil && a.Certificate == nil {
			t.Error("an answer that says nothing was taken")
		}
	})
}
