package route

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	here  = netip.MustParseAddr("10.77.1.1")
	fra   = netip.MustParseAddr("10.77.2.1")
	nyc   = netip.MustParseAddr("10.77.3.1")
	pod   = netip.MustParseAddr("10.88.0.5")
	plain = Config{Node: "ams", Underlay: here, PodCIDR: netip.MustParsePrefix("10.88.0.0/16")}
)

// The table of the package's documentation, and more.
func TestHops(t *testing.T) {
	const vx, dev = 7, 9
	device, toFra, toNyc, none := hop{device: dev}, hop{vx, fra}, hop{vx, nyc}, hop{}
	for _, c := range []struct {
		name       string
		owner      string // "-" unknown
		s          standing
		here, mesh hop
	}{
		{"here", "", standing{device: dev}, device, device},
		{"here, by name", "ams", standing{device: dev}, device, device},
		{"being released", "", standing{device: dev, relay: relays()[0]}, hop{dev, relays()[0]}, hop{dev, relays()[0]}},
		{"prepared at the target", "fra", standing{device: dev}, device, toFra},
		{"diverted", "", standing{device: dev, diverted: fra}, toFra, toFra},
		{"diverted, and activated there", "fra", standing{device: dev, diverted: fra}, toFra, toFra},
		{"diverted, and moved on since", "nyc", standing{device: dev, diverted: fra}, toFra, toNyc},
		{"diverted, not known yet", "-", standing{device: dev, diverted: fra}, toFra, toFra},
		{"sent on, not known yet", "", standing{sentOn: fra}, toFra, toFra},
		{"sent on", "fra", standing{sentOn: fra}, toFra, toFra},
		{"sent on, and moved on since", "nyc", standing{sentOn: fra}, toNyc, toNyc},
		{"elsewhere", "fra", standing{}, none, toFra},
		{"ours, but lost", "", standing{}, none, none},
		{"not known yet", "-", standing{device: dev}, device, none},
		{"at a node that is no peer", "xxx", standing{}, none, none},
	} {
		d := Desired{Peers: []Peer{{"ams", here}, {"fra", fra}, {"nyc", nyc}}}
		if c.owner != "-" {
			d.Pods = []Pod{{"u", pod, c.owner}}
		}
		x, err := d.index(plain)
		require.NoError(t, err)
		gotHere, gotMesh := x.hops(pod, vx, c.s)
		require.Equal(t, c.here, gotHere, c.name)
		require.Equal(t, c.mesh, gotMesh, c.name)
	}
}

func TestDesiredThatContradictsItself(t *testing.T) {
	for want, d := range map[string]Desired{
		"is that of ams":          {Peers: []Peer{{"fra", here}}},
		"is that of fra":          {Peers: []Peer{{"fra", fra}, {"nyc", fra}}},
		"outside of the pod CIDR": {Peers: []Peer{{"fra", pod}}},
		"need a name":             {Peers: []Peer{{"", fra}}},
		"need an":                 {},
		"not in the pod CIDR":     {Pods: []Pod{{"u", fra, ""}}},
		"is that of pod u":        {Pods: []Pod{{"u", pod, ""}, {"v", pod, ""}}},
		"uid":                     {Pods: []Pod{{"a/b", pod, ""}}},
	} {
		if want == "need an" {
			d.Peers = []Peer{{"fra", netip.MustParseAddr("fd00::1")}}
			want = "IPv4"
		}
		_, err := d.index(plain)
		require.ErrorContains(t, err, want)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for _, rec := range []record{
		{"u", pod, state{}},
		{strings.Repeat("u", 63), pod, state{held: true, diverted: fra}},
	} {
		require.Less(t, len(rec.String()), 256, "IFALIASZ")
		got, ok := parseRecord(rec.String())
		require.True(t, ok)
		require.Equal(t, rec, got)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("drover pod=u addr=10.88.0.5 held diverted=10.77.2.1")
	f.Add("drover pod=../u addr=10.88.0.5")
	f.Add("drover pod=u addr=fd00::1")
	f.Fuzz(func(t *testing.T, alias string) {
		rec, ok := parseRecord(alias)
		if !ok {
			return
		}
		require.NotContains(t, rec.uid, "/")
		again, ok := parseRecord(rec.String())
		require.True(t, ok)
		require.Equal(t, rec, again)
	})
}

func TestConfigIsChecked(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"node":     func(c *Config) { c.Node = "" },
		"underlay": func(c *Config) { c.Underlay = netip.Addr{} },
		"pod CIDR": func(c *Config) { c.PodCIDR = netip.MustParsePrefix("10.88.0.1/16") },
		"lies in":  func(c *Config) { c.Underlay = pod },
		"VNI":      func(c *Config) { c.VNI = 1 << 24 },
		"UDP port": func(c *Config) { c.Port = -1 },
	} {
		cfg := plain
		change(&cfg)
		require.ErrorContains(t, cfg.complete(), want)
	}
	cfg := plain
	require.NoError(t, cfg.complete())
	require.Equal(t, DefaultVNI, cfg.VNI)
}

func TestNames(t *testing.T) {
	require.Len(t, vethName("0b5c3ad5-3f2c-4f57-9a4e-0e7e0f3f3c11"), 15)
	require.Equal(t, "02:70:0a:58:00:05", podMAC(pod).String())
	require.Equal(t, "02:76:0a:4d:01:01", vtepMAC(here).String())
}
