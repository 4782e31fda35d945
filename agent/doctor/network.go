package doctor

import (
	"context"
	"fmt"
)

// The overlay takes 50 bytes of each packet: outer IP, UDP, VXLAN and inner Ethernet headers (RFC 7348, section 5).
const (
	overlayBytes = 50
	leastMTU     = 1280 // of a pod, so that IPv6 fits (RFC 8200, section 5)
)

func checkNetwork(_ context.Context, host Host, cfg Config) []Finding {
	const why = "the pods' packets travel inside of this network's; nodes should have the same, since a connection keeps its packet size when its pod moves"
	device, err := host.Device(cfg.Address)
	if err != nil {
		cure := "ip addr # then correct address in the agent's configuration"
		if !cfg.Address.IsValid() {
			cure = "name the agent's configuration with --config"
		}
		return []Finding{judge("mtu", why, "", err, Warn, cure)}
	}
	inner := device.MTU - overlayBytes
	f := Finding{Check: "mtu", Level: OK, Found: fmt.Sprintf("%d on %s, %d for pods", device.MTU, device.Name, inner), Why: why}
	if inner < leastMTU {
		f.Level = Warn
		f.Cure = fmt.Sprintf("ip link set %s mtu 1500 # if the network below carries it", device.Name)
	}
	return []Finding{f}
}
