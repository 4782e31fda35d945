package wan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// txQueue is the length of a device's own queue, in packets: long, because losses are the link's to
// decide, not those of a reader that comes a moment late.
const txQueue = 10000

// Device describes a TUN device in a network namespace.
type Device struct {
	NetNS     string // path of the namespace, for example /proc/PID/ns/net
	Name      string
	MTU       int            // at most 2048
	Addresses []netip.Prefix // of the site itself
	Routes    []netip.Prefix // what lies behind the WAN
}

// OpenDevice makes the device, up, with its addresses and routes, and returns its end of it, a
// non-blocking file descriptor that the caller owns. The device vanishes when that is closed or the
// process ends; until then it keeps the namespace alive.
func OpenDevice(d Device) (fd int, err error) {
	if d.MTU > maxPacket {
		return -1, fmt.Errorf("MTU %d of %s: want at most %d", d.MTU, d.Name, maxPacket)
	}
	ns, err := netns.GetFromPath(d.NetNS)
	if err != nil {
		return -1, fmt.Errorf("opening network namespace %s: %w", d.NetNS, err)
	}
	defer ns.Close() //nolint:errcheck // only read
	fd, err = openTUN(ns, d.Name)
	if err != nil {
		return -1, fmt.Errorf("making TUN device %s in %s: %w", d.Name, d.NetNS, err)
	}
	if err := configure(ns, d); err != nil {
		return -1, errors.Join(fmt.Errorf("configuring %s in %s: %w", d.Name, d.NetNS, err), unix.Close(fd))
	}
	return fd, nil
}

// openTUN attaches to a new device. A TUN device belongs to the namespace of the thread that opened
// /dev/net/tun (drivers/net/tun.c, tun_chr_open).
func openTUN(ns netns.NsHandle, name string) (int, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here instead of going back
		if err := netns.Set(ns); err != nil {
			done <- result{-1, fmt.Errorf("entering the namespace: %w", err)}
			return
		}
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			done <- result{-1, fmt.Errorf("opening /dev/net/tun: %w", err)}
			return
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			done <- result{-1, errors.Join(err, unix.Close(fd))}
			return
		}
		done <- result{fd, nil}
	}()
	r := <-done
	return r.fd, r.err
}

func configure(ns netns.NsHandle, d Device) error {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(d.Name)
	if err != nil {
		return err
	}
	if err := h.LinkSetMTU(link, d.MTU); err != nil {
		return fmt.Errorf("setting MTU %d: %w", d.MTU, err)
	}
	if err := h.LinkSetTxQLen(link, txQueue); err != nil {
		return fmt.Errorf("setting the queue's length: %w", err)
	}
	// A link-local address would be a random one, another each time, and nobody needs it on such a wire.
	if err := h.LinkSetIP6AddrGenMode(link, nl.IN6_ADDR_GEN_MODE_NONE); err != nil {
		return fmt.Errorf("keeping link-local addresses away: %w", err)
	}
	for _, a := range d.Addresses {
		// Without NODAD an IPv6 address is tentative, if only for a moment.
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("adding address %s: %w", a, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting it up: %w", err)
	}
	for _, r := range d.Routes {
		if err := h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.Masked())}); err != nil {
			return fmt.Errorf("adding the route to %s: %w", r, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
