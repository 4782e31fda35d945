package configs

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const minimal = `node: ams
address: 10.77.1.1:7400
servers: [ams, fra, nyc]
`

func TestExampleLoads(t *testing.T) {
	c, err := Load("agent.example.yaml")
	require.NoError(t, err)
	assert.Equal(t, "amsterdam", c.Site)
	assert.Equal(t, netip.MustParseAddrPort("192.0.2.10:7946"), c.Gossip)
	assert.Len(t, c.Join, 2)
	assert.Equal(t, map[string]string{"disk": "ssd"}, c.Labels)

	// What the example says of defaults is so.
	d := Assumed()
	for _, same := range []struct{ example, standard any }{
		{c.PodCIDR, d.PodCIDR}, {c.Overlay, d.Overlay}, {c.Identity, d.Identity}, {c.StateDir, d.StateDir}, {c.RunDir, d.RunDir},
		{c.Socket, d.Socket}, {c.CgroupDriver, d.CgroupDriver}, {c.CgroupParent, d.CgroupParent}, {c.BulkRate, d.BulkRate}, {c.Log, d.Log},
	} {
		assert.Equal(t, same.standard, same.example)
	}
}

func TestExampleHasEveryField(t *testing.T) {
	data, err := os.ReadFile("agent.example.yaml")
	require.NoError(t, err)
	var c Config
	doc := read(data, &c)
	require.Empty(t, doc.problems)
	all := wants(reflect.TypeFor[Config](), "")
	delete(all, "drill") // not for users
	for field := range all {
		assert.Contains(t, doc.places, field)
	}
}

func TestHiddenFieldIsNotOffered(t *testing.T) {
	c, err := Parse("agent.yaml", []byte(minimal+"drill: /run/drill\n"))
	require.NoError(t, err)
	assert.Equal(t, "/run/drill", c.Drill)
	_, err = Parse("agent.yaml", []byte(minimal+"dril: /run/drill\n"))
	require.ErrorContains(t, err, "unknown field")
	require.NotContains(t, err.Error(), "drill,")
	require.NotContains(t, err.Error(), "did you mean")
	_, err = Parse("agent.yaml", []byte(minimal+"drill: drills\n"))
	require.ErrorContains(t, err, "is not absolute")
}

func TestParentOfCgroupsFollowsTheDriver(t *testing.T) {
	for yaml, want := range map[string]string{
		"": "/drover", "cgroupDriver: systemd": "/drover.slice", "cgroupParent: /pods": "/pods",
		"cgroupDriver: systemd\ncgroupParent: /edge.slice/edge-pods.slice": "/edge.slice/edge-pods.slice",
	} {
		c, err := Parse("agent.yaml", []byte(minimal+yaml+"\n"))
		require.NoError(t, err)
		assert.Equal(t, want, c.CgroupParent, yaml)
	}
}

func TestDefaults(t *testing.T) {
	c, err := Parse("agent.yaml", []byte(minimal+"runDir: /run/other\njoin:\n"))
	require.NoError(t, err)
	assert.Equal(t, "ams", c.Site)
	assert.Equal(t, netip.MustParseAddrPort("10.77.1.1:7946"), c.Gossip)
	assert.Equal(t, "/run/other/agent.sock", c.Socket)
	assert.Empty(t, c.Join)
	assert.Zero(t, c.BulkRate)
}

func TestRole(t *testing.T) {
	const head = "node: ams\naddress: 10.77.1.1:7400\n"
	for yaml, want := range map[string]Role{
		"servers: [ams, fra]":                              Server,
		"servers: [ams, fra]\nrole: server":                Server,
		"servers: [fra, nyc]":                              Plain,
		"servers: [fra, nyc]\nrole: plain":                 Plain,
		"role: server\njoin: [10.77.2.1:7946]":             Server,
		"role: plain\njoin: [10.77.2.1:7946]":              Plain,
		"role: plain\nservers: []\njoin: [10.77.2.1:7946]": Plain,
	} {
		c, err := Parse("agent.yaml", []byte(head+yaml))
		require.NoError(t, err, yaml)
		assert.Equal(t, want, c.Role, yaml)
	}
}

func TestLabels(t *testing.T) {
	c, err := Parse("agent.yaml", []byte(minimal+"labels:\n  disk: ssd\n  example.org/zone: eu-west_1.a\n  gpu: \"\"\n"))
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"disk": "ssd", "example.org/zone": "eu-west_1.a", "gpu": ""}, c.Labels)
}

func TestErrorShowsLineAndValidFields(t *testing.T) {
	_, err := Parse("agent.yaml", []byte("node: ams\nservers: [ams]\nadddress: 10.77.1.1:7400\n"))
	require.EqualError(t, err, `agent.yaml: field "address" is missing
  valid: the IP address and UDP port that peers reach, such as 10.77.1.1:7400
agent.yaml:3:1: unknown field "adddress"; did you mean "address"?
    3 | adddress: 10.77.1.1:7400
      | ^
  valid: node, site, address, gossip, join, role, servers, deadServerAfter, lease, podCIDR, overlay, labels, identity, stateDir, runDir, socket, cgroupDriver, cgroupParent, registries, bulkRate, log`)

	_, err = Parse("agent.yaml", []byte(minimal+"log: {level: inof}\n"))
	require.EqualError(t, err, `agent.yaml:4:14: log.level: "inof" is not valid; did you mean "info"?
    4 | log: {level: inof}
      |              ^
  valid: debug, info, warn or error`)
}

func TestWrongValues(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"empty", "", `agent.yaml: field "node" is missing`},
		{"only comments", "# nothing\n", `agent.yaml: field "node" is missing`},
		{"a scalar", "hello", `agent.yaml:1:1: the file: "hello" is not valid`},
		{"a list", "[a, b]", `agent.yaml:1:1: the file: a list is not valid here`},
		{"not YAML", minimal + "join: [10.0.0.1:1\n", "agent.yaml:4:7: not YAML"},
		{"tabs", "node: ams\n\tsite: x\n", "agent.yaml:2"},
		{"second document", minimal + "---\nnode: fra\n", "a second document"},
		{"twice", minimal + "node: fra\n", "agent.yaml:4:1: "},
		{"anchor", "node: &a ams\nsite: *a\naddress: 10.0.0.1:7400\nservers: [a]\n", "node: anchor is not valid here"},
		{"node is a number", "node: 12\naddress: 10.0.0.1:7400\nservers: [a]\n", "agent.yaml:1:7: node: the number 12 is not valid"},
		{"node is no", "node: false\naddress: 10.0.0.1:7400\nservers: [a]\n", "node: the boolean false is not valid"},
		{"node in capitals", "node: AMS\naddress: 10.0.0.1:7400\nservers: [a]\n", `node: "AMS" is not valid`},
		{"node too long", "node: " + strings.Repeat("a", 64) + "\naddress: 10.0.0.1:7400\nservers: [a]\n", "agent.yaml:1:7"},
		{"empty site", minimal + `site: ""`, `agent.yaml:4:7: site: "" is not valid`},
		{"no port", "node: a\naddress: 10.77.1.1\nservers: [a]\n", `agent.yaml:2:10: address: "10.77.1.1" is not valid`},
		{"port 0", "node: a\naddress: 10.77.1.1:0\nservers: [a]\n", "address: 10.77.1.1:0 has the port 0"},
		{"port too large", "node: a\naddress: 10.77.1.1:70000\nservers: [a]\n", `address: "10.77.1.1:70000" is not valid`},
		{"any address", "node: a\naddress: 0.0.0.0:7400\nservers: [a]\n", "peers can't reach 0.0.0.0"},
		{"multicast", minimal + "gossip: 224.0.0.1:7946", "multicast"},
		{"zone", minimal + `gossip: "[fe80::1%eth0]:7946"`, "zone"},
		{"host name", minimal + "join: [fra.example.org:7946]", `agent.yaml:4:8: join[0]: "fra.example.org:7946" is not valid`},
		{"join is no list", minimal + "join: 10.0.0.1:7946", `join: "10.0.0.1:7946" is not valid`},
		{"join twice", minimal + "join: [10.0.0.1:7946, 10.0.0.2:7946, 10.0.0.1:7946]", "agent.yaml:4:38: join[2]: 10.0.0.1:7946 stands there twice"},
		{"null in a list", minimal + "join: [~]", "join[0]: null is not valid here"},
		{"gossip on the QUIC port", minimal + "gossip: 10.77.1.1:7400", "both use UDP"},
		{"no servers", "node: ams\naddress: 10.77.1.1:7400\n", `agent.yaml: field "servers" is missing`},
		{"empty servers", "node: ams\naddress: 10.77.1.1:7400\nservers: []\n", `agent.yaml:3:10: field "servers" is missing`},
		{"servers twice", "node: ams\naddress: 10.77.1.1:7400\nservers:\n- ams\n- fra\n- ams\n", "agent.yaml:6:3: servers[2]: ams stands there twice"},
		{"role of another kind", minimal + "role: voter", `agent.yaml:4:7: role: "voter" is not valid`},
		{"role with a typo", minimal + "role: sever", `role: "sever" is not valid; did you mean "server"?`},
		{"plain and a server", minimal + "role: plain", "agent.yaml:4:7: role: plain, but servers names this node"},
		{"server of a new mesh without it", "node: gru\naddress: 10.77.1.1:7400\nservers: [ams]\nrole: server\n", "role: server, but servers doesn't name this node"},
		{"nobody to join", "node: ams\naddress: 10.77.1.1:7400\nrole: plain\n", `field "join" is missing`},
		{"address of IPv6", "node: a\naddress: \"[fd00::1]:7400\"\nservers: [a]\n", "agent.yaml:2:10: address: fd00::1 is IPv6, which pods' packets can't travel over yet"},
		{"IPv4 written as IPv6", "node: a\naddress: \"[::ffff:10.77.1.1]:7400\"\nservers: [a]\n", "is IPv6"},
		{"labels are a list", minimal + "labels: [ssd]", "agent.yaml:4:9: labels: a list is not valid here"},
		{"label without text", minimal + "labels: {disk: 2}", "labels[disk]: the number 2 is not valid"},
		{"label with a bad name", minimal + "labels: {-disk: ssd}", `labels[-disk]: the name "-disk" is not valid`},
		{"label with a bad prefix", minimal + "labels: {Example.org/disk: ssd}", `the prefix "Example.org" is not valid`},
		{"label with a bad value", minimal + "labels: {disk: a b}", `agent.yaml:4:16: labels[disk]: the value "a b" is not valid`},
		{"label of the node's own", minimal + "labels: {drover.dev/site: x}", "labels[drover.dev/site]: it is the node's own"},
		{"label twice", minimal + "labels:\n  disk: a\n  disk: b\n", "disk"},
		{"CIDR with host bits", minimal + "podCIDR: 10.88.0.1/16", "the network is 10.88.0.0/16"},
		{"CIDR without bits", minimal + "podCIDR: 10.88.0.0", `podCIDR: "10.88.0.0" is not valid`},
		{"CIDR of IPv6", minimal + "podCIDR: fd00::/64", "podCIDR: fd00::/64 is not valid"},
		{"CIDR too small", minimal + "podCIDR: 10.88.0.0/30", "podCIDR: 10.88.0.0/30 is not valid"},
		{"CIDR has the address", minimal + "podCIDR: 10.77.0.0/16", "contains 10.77.1.1"},
		{"duration without unit", minimal + "deadServerAfter: 10", "deadServerAfter: the number 10 is not valid"},
		{"duration too short", minimal + "deadServerAfter: 59s", "deadServerAfter: 59s is too short"},
		{"lease too short", minimal + "lease: 1999ms", "lease: 1.999s is too short"},
		{"no lease", minimal + "lease: \"\"", "lease"},
		{"lease too long", minimal + "lease: 61s", "lease: 1m1s is too long"},
		{"negative duration", minimal + "deadServerAfter: -10m", "deadServerAfter: -10m is too short"},
		{"rate without unit", minimal + "bulkRate: 100", "bulkRate: the number 100 is not valid"},
		{"rate in a wrong unit", minimal + "bulkRate: 100MB/s", `bulkRate: "100MB/s" is not valid`},
		{"negative rate", minimal + "bulkRate: -1mbit", `bulkRate: "-1mbit" is not valid`},
		{"VNI 0", minimal + "overlay: {vni: 0}", "overlay.vni: 0 is no network identifier"},
		{"VNI too large", minimal + "overlay: {vni: 16777216}", "overlay.vni: 16777216 is no network identifier"},
		{"negative VNI", minimal + "overlay: {vni: -1}", "overlay.vni: the number -1 is not valid"},
		{"VNI in quotes", minimal + `overlay: {vni: "4088"}`, `overlay.vni: "4088" is not valid`},
		{"overlay port too large", minimal + "overlay: {port: 65536}", "overlay.port: the number 65536 is not valid"},
		{"overlay on the QUIC port", minimal + "overlay: {port: 7400}", "is the port of address too"},
		{"unknown in overlay", minimal + "overlay:\n  vnid: 3\n", `agent.yaml:5:3: unknown field "vnid" in overlay; did you mean "vni"?`},
		{"overlay is a number", minimal + "overlay: 4088", "overlay: the number 4088 is not valid"},
		{"relative path", minimal + "stateDir: var", `stateDir: "var" is not valid`},
		{"root as a directory", minimal + "stateDir: /", `stateDir: "/" is not valid`},
		{"one directory for both", minimal + "stateDir: /x\nrunDir: /x\n", "agent.yaml:5:9: runDir"},
		{"long socket", minimal + "socket: /" + strings.Repeat("s", 107), "has 108 bytes"},
		{"long runDir", minimal + "runDir: /" + strings.Repeat("r", 100), "has 112 bytes"},
		{"cgroup root", minimal + "cgroupParent: /", `cgroupParent: "/" is not valid`},
		{"cgroup outside", minimal + "cgroupParent: /../x", `cgroupParent: "/../x" is not valid`},
		{"cgroup driver", minimal + "cgroupDriver: sytemd", `cgroupDriver: "sytemd" is not valid; did you mean "systemd"?`},
		{"no slice", minimal + "cgroupDriver: systemd\ncgroupParent: /drover\n", `cgroupParent: "/drover" is no slice, which the driver systemd needs`},
		{"log format", minimal + "log: {format: xml}", `log.format: "xml" is not valid`},
		{"log level as bool", minimal + "log: {level: true}", "log.level: the boolean true is not valid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("agent.yaml", []byte(c.yaml))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Parse("agent.yaml", []byte("node: AMS\naddress: x\nservers: [ams, ams]\nlog: {level: loud}\nfoo: 1\n"))
	var e *Error
	require.ErrorAs(t, err, &e)
	assert.Len(t, e.Problems, 5)
	for i, p := range e.Problems {
		assert.Equal(t, i+1, p.Line)
		assert.NotEmpty(t, p.Source)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "absent.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Load(dir)
	require.Error(t, err)
	large := filepath.Join(dir, "large.yaml")
	require.NoError(t, os.WriteFile(large, bytes.Repeat([]byte("#\n"), maxFile), 0o600))
	_, err = Load(large)
	require.ErrorContains(t, err, "larger than")
}

func TestRate(t *testing.T) {
	for s, want := range map[string]Rate{
		"": 0, "8bit": 1, "800kbit": 100_000, "100mbit": 12_500_000, "2.5gbit": 312_500_000, "100Mbit": 12_500_000, "1gbit": 125_000_000,
	} {
		got, err := ParseRate(s)
		require.NoError(t, err, s)
		assert.Equal(t, want, got, s)
		again, err := ParseRate(got.String())
		require.NoError(t, err, s)
		assert.Equal(t, got, again, s)
	}
	for _, s := range []string{"0mbit", "bit", "mbit", "1", "-1bit", "+1mbit", "1e3mbit", "NaNmbit", "infgbit", "0x10mbit", "1 mbit", "1mbps", "1.2.3mbit", "99999999999999gbit", "1bit"} {
		_, err := ParseRate(s)
		assert.Error(t, err, s)
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log := Log{Level: "warn", Format: "json"}.Logger(&b)
	log.Info("hidden")
	log.Warn("shown", "n", 1)
	assert.NotContains(t, b.String(), "hidden")
	assert.Contains(t, b.String(), `"msg":"shown","n":1`)
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("agent.example.yaml")
	require.NoError(f, err)
	f.Add(example)
	f.Add([]byte(minimal + "log: {level: inof}\n"))
	f.Add([]byte("a: &b [*b]\n<<: *b\n? x\n: !!y |\n  z"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if _, err := Parse("agent.yaml", data); err != nil {
			_ = err.Error()
		}
	})
}
