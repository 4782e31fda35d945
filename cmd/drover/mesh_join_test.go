package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/api/apitest"
	"github.com/drover-mesh/drover/agent/doctor"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/transport"
)

// bareHost is a machine on which anything goes, unless a test says otherwise.
type bareHost struct {
	busy    error
	lacks   []doctor.Finding
	start   func(config string) error
	started string
}

func (*bareHost) Hostname() (string, error) { return "Fra.example.org", nil }
func (*bareHost) AddressTo(netip.Addr) (netip.Addr, error) {
	return netip.MustParseAddr("10.77.2.1"), nil
}
func (h *bareHost) Listen(configs.Config) error { return h.busy }
func (h *bareHost) Examine(context.Context, configs.Config) doctor.Report {
	return doctor.Report{Ready: len(h.lacks) == 0, Findings: h.lacks}
}

func (h *bareHost) StartAgent(_ context.Context, config string) error {
	h.started = config
	if h.start == nil {
		return errNoSupervisor
	}
	return h.start(config)
}

// host is a directory in which drover makes nodes.
type host struct {
	t *testing.T
	bareHost
	dir string
}

func newHost(t *testing.T) *host { return &host{t: t, dir: t.TempDir()} }

func (h *host) config() string { return filepath.Join(h.dir, "etc", "agent.yaml") }

func (h *host) stateDir() string { return filepath.Join(h.dir, "lib") }

// drover runs a command that takes --config.
func (h *host) drover(args ...string) (*call, int) {
	h.t.Helper()
	require.NoError(h.t, os.MkdirAll(filepath.Join(h.dir, "etc"), 0o755))
	args = append(args, "--config", h.config())
	if args[1] != "leave" {
		args = append(args, "--state-dir", h.stateDir(), "--run-dir", filepath.Join(h.dir, "run"))
	}
	return drover(h.t, filepath.Join(h.dir, "none.sock"), args, func(c *cli) { c.machine = &h.bareHost })
}

// files are the paths below the host's directory, of files and empty directories.
func (h *host) files() (paths []string) {
	h.t.Helper()
	require.NoError(h.t, filepath.WalkDir(filepath.Join(h.dir, "etc"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(filepath.Join(h.dir, "etc"), path)
			paths = append(paths, rel)
		}
		return err
	}))
	return paths
}

func TestMeshInitMakesANode(t *testing.T) {
	h := newHost(t)
	c, code := h.drover("mesh", "init", "prod", "--site", "frankfurt", "--label", "disk=ssd", "--pod-cidr", "10.99.0.0/16")
	require.Equal(t, exitOK, code, &c.stderr)
	golden(t, "mesh-init.table", strings.ReplaceAll(c.stdout.String(), h.dir, "DIR"))
	config, err := configs.Load(h.config())
	require.NoError(t, err)
	assert.Equal(t, "fra", config.Node)
	assert.Equal(t, "frankfurt", config.Site)
	assert.Equal(t, "10.77.2.1:7400", config.Address.String())
	assert.Equal(t, []string{"fra"}, config.Servers)
	assert.Equal(t, map[string]string{"disk": "ssd"}, config.Labels)
	assert.Equal(t, "10.99.0.0/16", config.PodCIDR.String())
	id, err := transport.LoadIdentity(config.Identity)
	require.NoError(t, err)
	assert.Equal(t, "fra", id.Node)
	assert.NotNil(t, id.Authority)
	assert.ElementsMatch(t, []string{
		"agent.yaml", "identity/ca.crt", "identity/ca.key", "identity/gossip.key", "identity/node.crt", "identity/node.key",
	}, h.files())

	before := h.files()
	for _, again := range [][]string{{"mesh", "init", "other"}, {"mesh", "join", aToken() + "@127.0.0.1"}} {
		c, code = h.drover(again...)
		assert.Equal(t, exitRefused, code)
		assert.Contains(t, c.stderr.String(), "this host is node fra of a mesh already")
		assert.Contains(t, c.stderr.String(), "drover mesh leave")
	}
	assert.Equal(t, before, h.files())
}

func TestMeshInitAsJSON(t *testing.T) {
	h := newHost(t)
	c, code := h.drover("mesh", "init", "--node", "ams", "--address", "192.0.2.10:7000", "-o", "json")
	require.Equal(t, exitOK, code, &c.stderr)
	assert.JSONEq(t, strings.ReplaceAll(`{"mesh":"drover","node":"ams","site":"ams","address":"192.0.2.10:7000","pod_cidr":"10.88.0.0/16",
		"config":"DIR/etc/agent.yaml","identity":"DIR/etc/identity","started":false}`, "DIR", h.dir), c.stdout.String())
}

// Each row is a host of which no node can be made, and nothing is left of the attempt.
func TestMeshInitRefuses(t *testing.T) {
	for name, r := range map[string]struct {
		args []string
		host bareHost
		code int
		want string
	}{
		"bad mesh name":      {[]string{"Prod"}, bareHost{}, exitUsage, `mesh name "Prod"`},
		"bad node name":      {[]string{"--node", "a_b"}, bareHost{}, exitUsage, `node name "a_b"`},
		"bad site":           {[]string{"--site", "a b"}, bareHost{}, exitUsage, "--site"},
		"no address":         {[]string{"--address", "fra.example.org:7400"}, bareHost{}, exitUsage, "is no IP address and port"},
		"port 0":             {[]string{"--address", "10.0.0.1:0"}, bareHost{}, exitUsage, "address: 10.0.0.1:0 has the port 0"},
		"IPv6":               {[]string{"--address", "[2001:db8::1]:7400"}, bareHost{}, exitUsage, "address: 2001:db8::1 is IPv6"},
		"any address":        {[]string{"--address", "0.0.0.0:7400"}, bareHost{}, exitUsage, "peers can't reach 0.0.0.0"},
		"no network":         {[]string{"--pod-cidr", "10.88"}, bareHost{}, exitUsage, "is no network"},
		"small network":      {[]string{"--pod-cidr", "10.88.0.0/30"}, bareHost{}, exitUsage, "podCIDR: 10.88.0.0/30 is not valid"},
		"network of hosts":   {[]string{"--pod-cidr", "10.77.0.0/16"}, bareHost{}, exitUsage, "contains 10.77.2.1"},
		"bad label":          {[]string{"--label", "-x=y"}, bareHost{}, exitUsage, `labels[-x]: the name "-x" is not valid`},
		"label without text": {[]string{"--label", "x"}, bareHost{}, exitUsage, "must be formatted as key=value"},
		"port in use":        {nil, bareHost{busy: errors.New("address already in use")}, exitRefused, "could not listen on this host: address already in use"},
		"no CRIU":            {nil, bareHost{lacks: []doctor.Finding{{Check: "criu", Level: doctor.Fail, Found: "not found", Cure: "apt-get install criu"}}}, exitRefused, "criu: not found; cure: apt-get install criu"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.bareHost = r.host
			c, code := h.drover(append([]string{"mesh", "init"}, r.args...)...)
			assert.Equal(t, r.code, code)
			assert.Contains(t, c.stderr.String(), r.want)
			assert.Empty(t, c.stdout.String())
			assert.Empty(t, h.files())
			left, err := os.ReadDir(filepath.Join(h.dir, "etc"))
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
	h := newHost(t)
	h.lacks = []doctor.Finding{{Check: "criu", Level: doctor.Fail}}
	_, code := h.drover("mesh", "init", "--no-check")
	assert.Equal(t, exitOK, code)
}

// aMesh answers hosts that join as a test says.
type aMesh struct {
	*transport.Transport
	token  transport.Token
	id     *transport.Identity
	mu     sync.Mutex
	asked  []transport.EnrolRequest
	answer func(transport.EnrolRequest) transport.EnrolAnswer // nil: admits as a plain node
}

func newMesh(t *testing.T) *aMesh {
	dir := filepath.Join(t.TempDir(), "ams")
	require.NoError(t, transport.Found(dir, "prod", "ams"))
	id, err := transport.LoadIdentity(dir)
	require.NoError(t, err)
	tr, err := transport.Listen(transport.Config{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), Identity: id, Log: slog.New(slog.DiscardHandler),
		Resolve: func(string) (netip.AddrPort, error) { return netip.AddrPort{}, errors.New("nobody") },
	})
	require.NoError(t, err)
	m := &aMesh{Transport: tr, token: transport.NewToken(id.Fingerprint()), id: id}
	l := tr.Listener(transport.Enrol)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				r, err := transport.ReadEnrolRequest(c)
				if err != nil {
					return
				}
				m.mu.Lock()
				defer m.mu.Unlock()
				m.asked = append(m.asked, r)
				a := m.admit(r)
				if m.answer != nil {
					a = m.answer(r)
				}
				if a.Refusal != nil && a.Refusal.Code == "silent" {
					c.(*transport.Conn).Reset(transport.FirstUserCode)
					return
				}
				_ = a.Write(c)
			})
		}
	})
	t.Cleanup(func() { _ = tr.Close(); serving.Wait() })
	return m
}

// answers sets how hosts are answered from now on. One that was asked before may still be on its way.
func (m *aMesh) answers(with func(transport.EnrolRequest) transport.EnrolAnswer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = with
}

func (m *aMesh) requests() []transport.EnrolRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

func (m *aMesh) admit(r transport.EnrolRequest) (a transport.EnrolAnswer) {
	key, err := r.PublicKey()
	if err == nil {
		a.Certificate, err = m.id.Authority.Certify(r.Node, 1, key)
	}
	if err != nil {
		return transport.EnrolAnswer{Refusal: &transport.Refusal{Code: "internal", Why: err.Error()}}
	}
	a.Authority, a.GossipKey = m.id.AuthorityCertificate(), m.id.GossipKey
	a.Settings = transport.Settings{
		PodCIDR: netip.MustParsePrefix("10.99.0.0/16"), OverlayVNI: 99, OverlayPort: 4790,
		Gossip: []netip.AddrPort{netip.MustParseAddrPort("10.77.1.1:7946")},
	}
	return a
}

func (m *aMesh) invitation() string { return m.token.String() + "@" + m.Addr().String() }

func aToken() string { return transport.NewToken(transport.Fingerprint{1}).String() }

func TestMeshJoinMakesANode(t *testing.T) {
	m, h := newMesh(t), newHost(t)
	c, code := h.drover("mesh", "join", m.invitation(), "--site", "frankfurt")
	require.Equal(t, exitOK, code, &c.stderr)
	out := strings.ReplaceAll(c.stdout.String(), h.dir, "DIR")
	golden(t, "mesh-join.table", regexp.MustCompile(`prod-[0-9a-f]{8}`).ReplaceAllString(out, "prod-0123abcd"))
	written, err := os.ReadFile(h.config())
	require.NoError(t, err)
	golden(t, "mesh-join.yaml", strings.ReplaceAll(string(written), h.dir, "DIR"))
	config, err := configs.Load(h.config())
	require.NoError(t, err)
	assert.Equal(t, configs.Plain, config.Role)
	id, err := transport.LoadIdentity(config.Identity)
	require.NoError(t, err)
	assert.Equal(t, "fra", id.Node)
	assert.Nil(t, id.Authority)
	assert.ElementsMatch(t, []string{"agent.yaml", "identity/ca.crt", "identity/gossip.key", "identity/node.crt", "identity/node.key"}, h.files())
}

func TestMeshJoinAsAServer(t *testing.T) {
	m, h := newMesh(t), newHost(t)
	m.answers(func(r transport.EnrolRequest) transport.EnrolAnswer {
		a := m.admit(r)
		a.Settings.Server = true
		a.AuthorityKey, _ = m.id.Authority.Key()
		return a
	})
	c, code := h.drover("mesh", "join", m.invitation(), "-o", "json")
	require.Equal(t, exitOK, code, &c.stderr)
	assert.Contains(t, c.stdout.String(), `"server": true`)
	config, err := configs.Load(h.config())
	require.NoError(t, err)
	assert.Equal(t, configs.Server, config.Role)
	assert.Empty(t, config.Servers)
	assert.Contains(t, h.files(), "identity/ca.key")
}

func TestMeshJoinStartsTheAgent(t *testing.T) {
	m, h := newMesh(t), newHost(t)
	b := fake()
	b.Node = "fra"
	// What stands in for the agent listens where the configuration says.
	h.start = func(config string) error {
		c, err := configs.Load(config)
		if err == nil {
			err = os.MkdirAll(c.RunDir, 0o755)
		}
		if err == nil {
			err = os.Symlink(apitest.Serve(t, b, nil), c.Socket)
		}
		return err
	}
	c, code := h.drover("mesh", "join", m.invitation())
	require.Equal(t, exitOK, code, &c.stderr)
	assert.Equal(t, h.config(), h.started)
	assert.Contains(t, c.stdout.String(), "The agent runs, and sees 2 nodes alive")
}

func TestMeshJoinWithoutAnAgent(t *testing.T) {
	m, h := newMesh(t), newHost(t)
	h.start = func(string) error { return errors.New("unit is masked") }
	c, code := h.drover("mesh", "join", m.invitation())
	assert.Equal(t, exitRefused, code)
	assert.Contains(t, c.stderr.String(), "its agent doesn't start: unit is masked")
	assert.Contains(t, h.files(), "agent.yaml") // the token is used: the node stays
	h = newHost(t)
	_, code = h.drover("mesh", "join", m.invitation(), "--no-start")
	assert.Equal(t, exitOK, code)
	assert.Empty(t, h.started)
}

// Each row is an invitation, or a host, with which joining fails; nothing is left of it.
func TestMeshJoinRefuses(t *testing.T) {
	m := newMesh(t)
	refuse := func(code api.Code, why string) func(transport.EnrolRequest) transport.EnrolAnswer {
		return func(transport.EnrolRequest) transport.EnrolAnswer {
			return transport.EnrolAnswer{Refusal: &transport.Refusal{Code: string(code), Why: why, Cure: "do something"}}
		}
	}
	good, addr := m.token.String(), m.Addr().String()
	for name, r := range map[string]struct {
		args   []string
		answer func(transport.EnrolRequest) transport.EnrolAnswer
		busy   error
		code   int
		want   string
	}{
		"no host":       {[]string{good}, nil, nil, exitUsage, "the argument is not TOKEN@HOST:PORT"},
		"empty host":    {[]string{good + "@"}, nil, nil, exitUsage, "the argument is not TOKEN@HOST:PORT"},
		"no token":      {[]string{"@" + addr}, nil, nil, exitUsage, "the token can't be read"},
		"cut token":     {[]string{good[:50] + "@" + addr}, nil, nil, exitUsage, "a part is missing"},
		"typing error":  {[]string{good[:30] + flip(good[30]) + good[31:] + "@" + addr}, nil, nil, exitUsage, "its checksum doesn't fit"},
		"later version": {[]string{"drover9" + good[7:] + "@" + addr}, nil, nil, exitUsage, "a token of another version"},
		"bad port":      {[]string{good + "@127.0.0.1:http"}, nil, nil, exitUsage, `"http" is no port`},
		"port 0":        {[]string{good + "@127.0.0.1:0"}, nil, nil, exitUsage, `"0" is no port`},
		"unknown host":  {[]string{good + "@no-such-host.invalid"}, nil, nil, exitUnavailable, "finding its IPv4 address"},
		"nobody there":  {[]string{good + "@127.0.0.1:9", "--timeout", "1s"}, nil, nil, exitUnavailable, "127.0.0.1:9 does not answer"},
		"another mesh":  {[]string{aToken() + "@" + addr}, nil, nil, exitRefused, "not of the mesh that made the token, or somebody stands in between"},
		"bad node":      {[]string{good + "@" + addr, "--node", "Fra"}, nil, nil, exitUsage, `node name "Fra"`},
		"IPv6 address":  {[]string{good + "@" + addr, "--address", "[::1]:7400"}, nil, nil, exitUsage, "is IPv6"},
		"port in use":   {[]string{good + "@" + addr}, nil, errors.New("address already in use"), exitRefused, "could not listen"},
		"unknown token": {[]string{good + "@" + addr}, refuse(api.NotFound, "token x is not known"), nil, exitNotFound, "token x is not known\n  do something"},
		"expired":       {[]string{good + "@" + addr}, refuse(api.FailedPrecondition, "token x expired"), nil, exitRefused, "token x expired"},
		"no leader":     {[]string{good + "@" + addr, "--timeout", "1s"}, refuse(api.Unavailable, "no leader"), nil, exitUnavailable, "whether the mesh has admitted this host is not known: no leader"},
		"bad pod CIDR": {[]string{good + "@" + addr}, func(r transport.EnrolRequest) transport.EnrolAnswer {
			a := m.admit(r)
			a.Settings.PodCIDR = netip.MustParsePrefix("10.77.0.0/16")
			return a
		}, nil, exitRefused, "podCIDR: 10.77.0.0/16 contains 10.77.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.busy = r.busy
			m.answers(r.answer)
			c, code := h.drover(append([]string{"mesh", "join"}, r.args...)...)
			assert.Equal(t, r.code, code, &c.stderr)
			assert.Contains(t, c.stderr.String(), r.want)
			assert.Empty(t, c.stdout.String())
			assert.NotContains(t, c.stderr.String(), good[8:40])
			if name == "no leader" || name == "bad pod CIDR" { // the token may be used, or is
				assert.Equal(t, []string{".joining-fra/node.key"}, h.files())
			} else {
				assert.Empty(t, h.files())
			}
		})
	}
}

func flip(letter byte) string {
	if letter == 'a' {
		return "b"
	}
	return "a"
}

func TestMeshJoinGoesOnWhereItWasCutOff(t *testing.T) {
	m, h := newMesh(t), newHost(t)
	m.answers(func(transport.EnrolRequest) transport.EnrolAnswer {
		return transport.EnrolAnswer{Refusal: &transport.Refusal{Code: "silent"}}
	})
	c, code := h.drover("mesh", "join", m.invitation(), "--timeout", "1s")
	assert.Equal(t, exitUnavailable, code)
	assert.Contains(t, c.stderr.String(), "run the same command again")
	m.answers(nil)
	c, code = h.drover("mesh", "join", m.invitation())
	require.Equal(t, exitOK, code, &c.stderr)
	asked := m.requests()
	first, err := asked[0].PublicKey()
	require.NoError(t, err)
	last, err := asked[len(asked)-1].PublicKey()
	require.NoError(t, err)
	assert.True(t, first.Equal(last), "it came with another key, which looks like another host")
	assert.NotContains(t, strings.Join(h.files(), " "), ".joining")
}

func TestMeshJoinTwiceAtOnce(t *testing.T) {
	m, h := newMesh(t), newHost(t)
	p := placeOf(h.config(), configs.Config{Node: "fra", Identity: filepath.Join(h.dir, "etc", "identity")})
	done, err := p.begin("test")
	require.NoError(t, err)
	c, code := h.drover("mesh", "join", m.invitation())
	assert.Equal(t, exitRefused, code)
	assert.Contains(t, c.stderr.String(), "another drover mesh init or join is at work")
	done()
	_, code = h.drover("mesh", "join", m.invitation())
	assert.Equal(t, exitOK, code)
}

func TestAPlaceIsFilledWholeOrNotAtAll(t *testing.T) {
	m, h := newMesh(t), newHost(t)
	require.NoError(t, os.MkdirAll(filepath.Join(h.dir, "etc"), 0o755))
	p := placeOf(h.config(), configs.Config{Node: "fra", Identity: filepath.Join(h.dir, "etc", "identity"), StateDir: h.stateDir()})
	done, err := p.begin("test")
	require.NoError(t, err)
	key, err := p.key()
	require.NoError(t, err)
	noRoom := errors.New("no space left on device")
	require.ErrorIs(t, p.fill(nil, func(string) error { return noRoom }), noRoom)
	assert.Equal(t, []string{".joining-fra/node.key"}, h.files())

	// Cut off between the two renames: the identity is there, the configuration is not.
	a, err := transport.Join(t.Context(), transport.JoinConfig{Token: m.token, Addr: m.Addr(), Node: "fra", Key: key})
	require.NoError(t, err)
	require.NoError(t, a.Write(p.identity))
	done()
	require.NoError(t, p.vacant("test"))
	c, code := h.drover("mesh", "join", m.invitation())
	require.Equal(t, exitOK, code, &c.stderr)
}

func TestWhatMakesAHostTaken(t *testing.T) {
	m := newMesh(t)
	for what, c := range map[string]struct {
		make func(h *host) error
		want string
	}{
		"broken configuration": {func(h *host) error { return os.WriteFile(h.config(), []byte("node: ["), 0o600) }, "not YAML"},
		"identity":             {func(h *host) error { return os.Mkdir(filepath.Join(h.dir, "etc", "identity"), 0o700) }, "an identity is there"},
		"log":                  {func(h *host) error { return os.MkdirAll(filepath.Join(h.stateDir(), "raft", "snapshots"), 0o700) }, "the log of a mesh is there"},
	} {
		h := newHost(t)
		require.NoError(t, os.MkdirAll(filepath.Join(h.dir, "etc"), 0o755))
		require.NoError(t, c.make(h))
		before := h.files()
		r, code := h.drover("mesh", "join", m.invitation())
		assert.Equal(t, exitRefused, code, what)
		assert.Contains(t, r.stderr.String(), c.want)
		assert.Equal(t, before, h.files(), what)
	}
	assert.Empty(t, m.requests())
}

func TestMeshLeave(t *testing.T) {
	h := newHost(t)
	_, code := h.drover("mesh", "leave")
	assert.Equal(t, exitNotFound, code)
	_, code = h.drover("mesh", "init", "--node", "ams")
	require.Equal(t, exitOK, code)
	for _, path := range []string{"raft/log", "moves", "runtime/pods/uid-1", "volumes/layers"} {
		require.NoError(t, os.MkdirAll(filepath.Join(h.stateDir(), path), 0o700))
	}
	c, code := h.drover("mesh", "leave")
	assert.Equal(t, exitRefused, code)
	assert.Contains(t, c.stderr.String(), "pods of this node are on the host: uid-1")
	assert.NotEmpty(t, h.files())

	c, code = h.drover("mesh", "leave", "--force")
	require.Equal(t, exitOK, code, &c.stderr)
	assert.Contains(t, c.stdout.String(), "drover node rm ams")
	assert.Empty(t, h.files())
	assert.NoDirExists(t, filepath.Join(h.stateDir(), "raft"))
	assert.DirExists(t, filepath.Join(h.stateDir(), "volumes", "layers"))
	_, code = h.drover("mesh", "init", "--node", "ams")
	assert.Equal(t, exitOK, code, "as good as new")
}

func TestMeshLeaveWithAnAgent(t *testing.T) {
	h := newHost(t)
	_, code := h.drover("mesh", "init", "--node", "ams")
	require.Equal(t, exitOK, code)
	config, err := configs.Load(h.config())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(config.RunDir, 0o755))
	require.NoError(t, os.Symlink(apitest.Serve(t, fake(), nil), config.Socket))
	before := h.files()
	c, code := h.drover("mesh", "leave", "--force")
	assert.Equal(t, exitRefused, code)
	assert.Contains(t, c.stderr.String(), "the agent of this host runs")
	assert.Equal(t, before, h.files())
}
