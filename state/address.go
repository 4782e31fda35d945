package state

import "net/netip"

// freeAddress returns the lowest address of the pod CIDR that no pod has. The network's own address, the
// one after it (by custom a router's) and the broadcast address are never given.
func (m *Machine) freeAddress() (netip.Addr, bool) {
	used := make(map[netip.Addr]bool, len(m.t.pods))
	for _, pod := range m.t.pods {
		used[pod.Addr] = true
	}
	addr := m.t.podCIDR.Addr().Next().Next()
	// The broadcast address is the last of the prefix: the one whose successor is outside (or doesn't exist).
	for m.t.podCIDR.Contains(addr.Next()) {
		if !used[addr] {
			return addr, true
		}
		addr = addr.Next()
	}
	return netip.Addr{}, false
}
