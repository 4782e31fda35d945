package route

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
)

// gatewayMAC is the hardware address of every pod's host device.
func gatewayMAC() net.HardwareAddr {
	return net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}
}

// podMAC is a pod's hardware address, the same at every site: locally administered, and derived from its address.
func podMAC(addr netip.Addr) net.HardwareAddr { return macOf(0x70, addr) }

// vtepMAC is the hardware address of a node's overlay device, which its peers derive from its underlay address.
func vtepMAC(underlay netip.Addr) net.HardwareAddr { return macOf(0x76, underlay) }

func macOf(kind byte, addr netip.Addr) net.HardwareAddr {
	a := addr.As4()
	return net.HardwareAddr{0x02, kind, a[0], a[1], a[2], a[3]}
}

// vethName is the name of a pod's host device: at most 15 bytes, as the kernel demands.
func vethName(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return vethPrefix + hex.EncodeToString(sum[:6])
}

func ipOf(addr netip.Addr) net.IP {
	if !addr.IsValid() {
		return nil
	}
	return net.IP(addr.AsSlice())
}

func addrOf(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// netOf is one address as a network, the form that netlink wants.
func netOf(addr netip.Addr) *net.IPNet { return prefixOf(netip.PrefixFrom(addr, addr.BitLen())) }

func prefixOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: ipOf(p.Addr()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// DeviceOf is the name of a pod's device on the host's side, whether it is there or not.
func DeviceOf(uid string) string { return vethName(uid) }
