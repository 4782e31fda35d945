package route

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setOverlay sees to the overlay device and its peers, and returns the device's index.
func (r *Router) setOverlay(peers map[string]netip.Addr) (int, error) {
	mtu, err := r.underlayMTU()
	if err != nil {
		return 0, err
	}
	link, err := r.overlayDevice(mtu - overhead)
	if err != nil {
		return 0, err
	}
	device := link.Attrs().Index
	r.mu.Lock()
	r.overlay, r.mtu = device, mtu-overhead
	r.mu.Unlock()
	err = inside(r.ns, func() error { return writeAll(append(deviceSysctls(Device), acceptLocal(Device))) })
	return device, errors.Join(err, r.setForwarding(device, peers), r.setNeighbours(device, peers))
}

// underlayMTU is the MTU of the device that has the underlay address.
func (r *Router) underlayMTU() (int, error) {
	addrs, err := r.host.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range addrs {
		if addrOf(a.IP) != r.cfg.Underlay {
			continue
		}
		link, err := r.host.LinkByIndex(a.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("reading the device of %v: %w", r.cfg.Underlay, err)
		}
		return min(link.Attrs().MTU, 65535), nil
	}
	return 0, fmt.Errorf("no device of this host has the underlay address %v: check `address` in the agent's configuration", r.cfg.Underlay)
}

func (r *Router) overlayDevice(mtu int) (netlink.Link, error) {
	want := &netlink.Vxlan{
		LinkAttrs: netlink.NewLinkAttrs(),
		VxlanId:   r.cfg.VNI, Port: r.cfg.Port, SrcAddr: ipOf(r.cfg.Underlay),
	}
	want.Name, want.MTU, want.HardwareAddr = Device, mtu, vtepMAC(r.cfg.Underlay)
	link, err := r.host.LinkByName(Device)
	if err == nil && !sameOverlay(link, want) {
		if !isOverlay(link) {
			return nil, fmt.Errorf("device %s %w: rename or remove it (ip link del %[1]s)", Device, ErrForeign)
		}
		if err := r.host.LinkDel(link); err != nil {
			return nil, fmt.Errorf("removing the outdated overlay device: %w", err)
		}
		err = netlink.LinkNotFoundError{}
	}
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		if err := r.host.LinkAdd(want); err != nil {
			return nil, fmt.Errorf("making overlay device %s (VXLAN %d on UDP port %d): %w", Device, r.cfg.VNI, r.cfg.Port, err)
		}
		link, err = r.host.LinkByName(Device)
	}
	if err != nil {
		return nil, fmt.Errorf("reading overlay device %s: %w", Device, err)
	}
	if link.Attrs().MTU != mtu {
		if err := r.host.LinkSetMTU(link, mtu); err != nil {
			return nil, fmt.Errorf("setting the MTU of %s to %d: %w", Device, mtu, err)
		}
	}
	if link.Attrs().RawFlags&unix.IFF_UP == 0 {
		if err := r.host.LinkSetUp(link); err != nil {
			return nil, fmt.Errorf("raising %s: %w", Device, err)
		}
	}
	return link, nil
}

// isOverlay tells our device from another of its name: by its kind and the make of its hardware address.
func isOverlay(link netlink.Link) bool {
	return link.Type() == "vxlan" && bytes.HasPrefix(link.Attrs().HardwareAddr, vtepMAC(netip.IPv4Unspecified())[:2])
}

func sameOverlay(link netlink.Link, want *netlink.Vxlan) bool {
	vx, ok := link.(*netlink.Vxlan)
	return ok && vx.VxlanId == want.VxlanId && vx.Port == want.Port && !vx.Learning &&
		vx.SrcAddr.Equal(want.SrcAddr) && bytes.Equal(vx.HardwareAddr, want.HardwareAddr)
}

// setForwarding makes the VXLAN forwarding entries those of the peers: hardware address to underlay address.
func (r *Router) setForwarding(device int, peers map[string]netip.Addr) error {
	want := map[string]netip.Addr{}
	for _, underlay := range peers {
		want[vtepMAC(underlay).String()] = underlay
	}
	have, err := r.host.NeighList(device, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("listing forwarding entries of %s: %w", Device, err)
	}
	var errs []error
	for _, n := range have {
		mac := n.HardwareAddr.String()
		if underlay, ok := want[mac]; ok && underlay == addrOf(n.IP) && n.State&netlink.NUD_PERMANENT != 0 {
			delete(want, mac)
			continue
		}
		n.Family, n.Flags = unix.AF_BRIDGE, netlink.NTF_SELF
		errs = append(errs, wrap(r.host.NeighDel(&n), "removing the forwarding entry of %s", n.IP))
	}
	for _, underlay := range want {
		errs = append(errs, wrap(r.host.NeighSet(&netlink.Neigh{
			LinkIndex: device, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
			IP: ipOf(underlay), HardwareAddr: vtepMAC(underlay),
		}), "setting the forwarding entry of %v", underlay))
	}
	return errors.Join(errs...)
}

// setNeighbours makes the overlay's neighbours those of the peers. A peer's underlay address is its name there too:
// next hops are on-link and per device, so no further addresses are needed.
func (r *Router) setNeighbours(device int, peers map[string]netip.Addr) error {
	want := map[netip.Addr]bool{}
	for _, underlay := range peers {
		want[underlay] = true
	}
	have, err := r.host.NeighList(device, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing neighbours of %s: %w", Device, err)
	}
	var errs []error
	for _, n := range have {
		underlay := addrOf(n.IP)
		switch {
		case want[underlay] && n.State == netlink.NUD_PERMANENT && bytes.Equal(n.HardwareAddr, vtepMAC(underlay)):
			delete(want, underlay)
		case !want[underlay] && n.State != netlink.NUD_NOARP:
			errs = append(errs, wrap(r.host.NeighDel(&n), "removing neighbour %v", underlay))
		}
	}
	for underlay := range want {
		errs = append(errs, wrap(r.host.NeighSet(&netlink.Neigh{
			LinkIndex: device, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: ipOf(underlay), HardwareAddr: vtepMAC(underlay),
		}), "setting neighbour %v", underlay))
	}
	return errors.Join(errs...)
}

func (r *Router) removeOverlay() error {
	link, err := r.host.LinkByName(Device)
	if errors.As(err, &netlink.LinkNotFoundError{}) || err == nil && !isOverlay(link) {
		return nil
	}
	if err == nil {
		err = r.host.LinkDel(link)
	}
	return wrap(err, "removing overlay device %s", Device)
}
