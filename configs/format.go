package configs

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Format returns a configuration file that Parse reads as c. It says what a host has of its own, and of the rest only
// what differs from the default.
func (c Config) Format() []byte {
	var b bytes.Buffer
	line := func(field, value string) { fmt.Fprintf(&b, "%s: %s\n", field, value) }
	unless := func(standard, field, value string) {
		if value != standard {
			line(field, text(value))
		}
	}
	d := Default()
	line("node", text(c.Node))
	unless("", "site", c.Site)
	line("address", addrPort(c.Address))
	if c.Gossip.IsValid() && c.Gossip != netip.AddrPortFrom(c.Address.Addr(), gossipPort) {
		line("gossip", addrPort(c.Gossip))
	}
	if len(c.Join) > 0 {
		line("join", list(c.Join, addrPort))
	}
	if len(c.Servers) > 0 {
		line("servers", list(c.Servers, text))
	} else if c.Role != "" {
		line("role", text(string(c.Role)))
	}
	unless(d.DeadServerAfter.String(), "deadServerAfter", c.DeadServerAfter.String())
	unless(d.Lease.String(), "lease", c.Lease.String())
	line("podCIDR", c.PodCIDR.String()) // IPv4
	if c.Overlay != d.Overlay {
		line("overlay", fmt.Sprintf("{vni: %d, port: %d}", c.Overlay.VNI, c.Overlay.Port))
	}
	if len(c.Labels) > 0 {
		b.WriteString("labels:\n")
		for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
			fmt.Fprintf(&b, "  %s: %s\n", text(name), text(c.Labels[name]))
		}
	}
	unless(d.Identity, "identity", c.Identity)
	unless(d.StateDir, "stateDir", c.StateDir)
	unless(d.RunDir, "runDir", c.RunDir)
	unless((&Config{RunDir: c.RunDir}).socket(), "socket", c.socket())
	unless(d.CgroupDriver, "cgroupDriver", c.CgroupDriver)
	unless((&Config{CgroupDriver: c.CgroupDriver}).cgroupParent(), "cgroupParent", c.cgroupParent())
	unless("", "bulkRate", c.BulkRate.String())
	if c.Log != d.Log {
		line("log", fmt.Sprintf("{level: %s, format: %s}", c.Log.Level, c.Log.Format))
	}
	return b.Bytes()
}

// text is a YAML string; what YAML might take for something else stands in quotes.
func text(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	if s != "" && strings.Trim(s, letters+"0123456789-") == "" && strings.Contains(letters, s[:1]) && !slices.Contains(words, s) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// addrPort needs no quotes without brackets.
func addrPort(a netip.AddrPort) string {
	if a.Addr().Is4() {
		return a.String()
	}
	return text(a.String())
}

// words are names that YAML 1.1 or 1.2 takes for booleans or null.
var words = []string{"true", "false", "yes", "no", "on", "off", "y", "n", "null"}

func list[T any](values []T, name func(T) string) string {
	var parts []string
	for _, v := range values {
		parts = append(parts, name(v))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
