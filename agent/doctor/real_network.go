package doctor

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Device implements Host.
func (Real) Device(address netip.Addr) (Device, error) {
	index, err := deviceOf(address)
	if err != nil {
		return Device{}, err
	}
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return Device{}, fmt.Errorf("reading a network device: %w", err)
	}
	return Device{Name: link.Attrs().Name, MTU: link.Attrs().MTU}, nil
}

func deviceOf(address netip.Addr) (index int, err error) {
	if address.IsValid() {
		addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return 0, fmt.Errorf("listing addresses: %w", err)
		}
		for _, a := range addresses {
			if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.Unmap() == address {
				return a.LinkIndex, nil
			}
		}
		return 0, fmt.Errorf("no device of this host has the address %v", address)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("listing routes: %w", err)
	}
	for _, r := range routes {
		if r.LinkIndex != 0 && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
			return r.LinkIndex, nil
		}
	}
	return 0, errors.New("there is no default route, and no configuration names an address")
}
