package route

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HandBack is for a move that was aborted: it sends the packets that are held for the pod on to its owner, in order, and what
// comes later as well, until RemovePod. The source must have called Undivert, or they would come back. Those that came to the
// source meanwhile are ahead of them, so a source that cares holds its pod, too, and releases it last.
//
// The queue belongs to the pod's host device, so its packets can only go into the namespace; there the address is taken
// away, and the namespace forwards them to its gateway, this host, which routes them as any other's. Nothing of the pod may
// run there any more, or ever again.
func (r *Router) HandBack(uid string) error {
	ep, err := r.endpoint(uid)
	if err != nil {
		return err
	}
	r.mu.Lock()
	owner, known := r.desired.owners[ep.addr]
	_, reachable := r.desired.peers[owner]
	r.mu.Unlock()
	if !known || owner == "" || !reachable {
		return fmt.Errorf("handing the packets of pod %s back: it needs an owner that is a peer, not %q", uid, owner)
	}
	return ep.use(func() error {
		err := inside(r.ns, acceptLocal(vethName(uid)).write)
		if err == nil {
			err = inside(ep.ns, sysctl{"ipv4/ip_forward", "1"}.write)
		}
		if err == nil {
			err = ep.leaveAddress()
		}
		if err != nil {
			return fmt.Errorf("handing the packets of pod %s back: %w", uid, err)
		}
		return r.release(ep)
	})
}

// leaveAddress takes the pod's address from its device. Another takes its place first: without any the kernel would
// remove the routes and neighbours as well.
func (ep *endpoint) leaveAddress() error {
	eth0, err := ep.eth0()
	if err != nil {
		return err
	}
	standIn := netip.AddrFrom4([4]byte{169, 254, 1, 4})
	if err := ep.pod.AddrReplace(eth0, &netlink.Addr{IPNet: netOf(standIn)}); err != nil {
		return fmt.Errorf("setting the address that stands in: %w", err)
	}
	if err := ep.pod.AddrDel(eth0, &netlink.Addr{IPNet: netOf(ep.addr)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("removing its address: %w", err)
	}
	return nil
}
