package configs

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFormatIsWhatParseReads(t *testing.T) {
	for name, yaml := range map[string]string{
		"minimal": minimal,
		"joined":  "node: fra\naddress: 10.77.2.1:7400\nrole: plain\njoin: [10.77.1.1:7946, \"[fd00::1]:1\"]\n",
		"all": `node: "1"
site: "no"
address: 10.77.1.1:1
gossip: 10.77.1.2:2
servers: ["1", "true", x-1]
deadServerAfter: 1h30m
lease: 20s
podCIDR: 10.99.0.0/16
overlay: {vni: 7, port: 8}
labels: {disk: ssd, example.org/a_B: "1.5", empty: "", t: "true"}
identity: /x/a "b" é
stateDir: /x/lib
runDir: /x/run
socket: /x/sock
cgroupDriver: systemd
cgroupParent: /a:b/c@d.slice
bulkRate: 2.5gbit
log: {level: debug, format: json}
`,
	} {
		want, err := Parse("agent.yaml", []byte(yaml))
		require.NoError(t, err, name)
		written := want.Format()
		got, err := Parse("agent.yaml", written)
		require.NoError(t, err, "%s:\n%s", name, written)
		assert.Equal(t, want, got, "%s:\n%s", name, written)
	}
}

func TestFormatSaysNoMoreThanItMust(t *testing.T) {
	c := Default()
	c.Node, c.Site, c.Role = "fra", "frankfurt", Plain
	c.Address, c.Gossip = netip.MustParseAddrPort("192.0.2.10:7400"), netip.MustParseAddrPort("192.0.2.10:7946")
	c.Join = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7946")}
	assert.Equal(t, `node: fra
site: frankfurt
address: 192.0.2.10:7400
join: [192.0.2.1:7946]
role: plain
podCIDR: 10.88.0.0/16
`, string(c.Format()))
}
