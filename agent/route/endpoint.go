package route

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// endpoint is a pod's place at this host: its namespace and its pair of devices.
type endpoint struct {
	uid    string
	addr   netip.Addr
	path   string // of the namespace
	device int    // index of its host device
	inside int    // index of its eth0

	ns  netns.NsHandle
	pod *netlink.Handle // inside ns

	op   sync.Mutex // held by one operation of Hold, Release, Divert, ... at a time, see use
	gone bool       // removed, or the Router is closed; guarded by op

	// Guarded by Router.mu.
	state
	relay netip.Addr // a release is under way: the neighbour whose turn it is
}

// state is what a move has made of a pod's place.
type state struct {
	held     bool       // packets for the pod queue
	diverted netip.Addr // they go on to the node with this underlay address
}

// use runs an operation on the place, alone. One that has gone is refused: netlink handles that are closed would fall back
// to the namespace of the caller.
func (ep *endpoint) use(f func() error) error {
	ep.op.Lock()
	defer ep.op.Unlock()
	if ep.gone {
		return fmt.Errorf("pod %s: %w", ep.uid, ErrNoPod)
	}
	return f()
}

// close is the last use of the place in this process. The caller holds op.
func (ep *endpoint) close() error {
	ep.gone = true
	ep.pod.Close()
	return wrap(ep.ns.Close(), "closing the namespace of pod %s", ep.uid)
}

// PreparePod makes the pod's place at this host and returns the path of its network namespace: address, route and devices are up,
// with no duplicate address detection and no ARP. From then on packets that arrive over the overlay for the pod go to it; this
// host's own follow the owner, see Set. With hold they queue instead, until Release. A place that is there already is
// completed, and held if hold is set; one whose pod is diverted is refused, since its pod is yet to be removed. Needs one Set before.
func (r *Router) PreparePod(ctx context.Context, uid string, addr netip.Addr, hold bool) (string, error) {
	if err := checkPod(uid, addr, r.cfg.PodCIDR); err != nil {
		return "", err
	}
	r.making.Lock()
	defer r.making.Unlock()
	if err := r.ready(ctx); err != nil {
		return "", err
	}
	r.mu.Lock()
	ep, taken, mtu := r.pods[uid], r.at[addr], r.mtu
	r.mu.Unlock()
	switch {
	case mtu == 0:
		return "", errors.New("preparing a pod's network: the overlay is not up: call Set first")
	case ep == nil && taken != nil || ep != nil && ep != taken:
		return "", fmt.Errorf("pod %s: address %v or uid is in use here by another pod", uid, addr)
	case ep == nil:
		var err error
		if ep, err = r.makeEndpoint(uid, addr, mtu, hold); err != nil {
			return "", fmt.Errorf("preparing the network of pod %s: %w", uid, err)
		}
		return ep.path, nil
	}
	r.mu.Lock()
	diverted := ep.diverted
	r.mu.Unlock()
	if diverted.IsValid() {
		return "", fmt.Errorf("pod %s is diverted to %v and still stands here: remove it first", uid, diverted)
	}
	err := ep.use(func() error { return r.finish(ep) })
	if hold {
		err = errors.Join(err, r.Hold(uid))
	}
	return ep.path, errors.Join(err, r.setPod(addr, nil))
}

// ready refuses work for a caller that has left, or on a closed Router. The caller holds making.
func (r *Router) ready(ctx context.Context) error {
	if r.closed {
		return errors.New("the router is closed")
	}
	return ctx.Err()
}

// makeEndpoint makes a place, in an order such that no packet reaches an unheld pod that should be held. mu is not held.
func (r *Router) makeEndpoint(uid string, addr netip.Addr, mtu int, hold bool) (_ *endpoint, err error) {
	name := namePrefix + uid
	path := filepath.Join(r.cfg.NamesDir, name)
	if err := r.clear(uid, path); err != nil {
		return nil, err
	}
	if err := makeNamespace(r.cfg.NamesDir, name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.clear(uid, path))
		}
	}()
	ns, err := openNamespace(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ns.Close())
		}
	}()
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name, veth.HardwareAddr, veth.MTU = vethName(uid), gatewayMAC(), mtu
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNamespace, veth.PeerMTU = "eth0", podMAC(addr), netlink.NsFd(int(ns)), uint32(mtu)
	if err := r.host.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("making its devices: %w", err)
	}
	link, err := r.host.LinkByName(veth.Name)
	if err != nil {
		return nil, fmt.Errorf("reading its host device: %w", err)
	}
	st := state{held: hold}
	if err := r.host.LinkSetAlias(link, record{uid, addr, st}.String()); err != nil {
		return nil, fmt.Errorf("recording its state: %w", err)
	}
	ep := &endpoint{uid: uid, addr: addr, path: path, device: link.Attrs().Index, ns: ns, state: st}
	if ep.pod, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE, unix.NETLINK_INET_DIAG); err != nil {
		return nil, fmt.Errorf("opening netlink in its namespace: %w", err)
	}
	if err = r.finish(ep); err != nil {
		ep.pod.Close()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[uid], r.at[addr] = ep, ep
	delete(r.sentOn, addr)
	return ep, r.setPodLocked(addr, nil)
}

// finish completes a place; everything in it may have been done before.
func (r *Router) finish(ep *endpoint) error {
	host := vethName(ep.uid)
	link, err := r.host.LinkByIndex(ep.device)
	if err != nil {
		return fmt.Errorf("reading its host device: %w", err)
	}
	err = inside(r.ns, func() error {
		return writeAll(append(deviceSysctls(host), sysctl{"ipv4/neigh/" + host + "/unres_qlen_bytes", fmt.Sprint(holdBytes)}))
	})
	if err != nil {
		return err
	}
	// Without ARP the pod can't change its own neighbour entry, and so not end a hold.
	if err := r.host.LinkSetARPOff(link); err != nil {
		return fmt.Errorf("switching ARP off: %w", err)
	}
	if err := r.host.LinkSetUp(link); err != nil {
		return fmt.Errorf("raising its host device: %w", err)
	}
	if err := errors.Join(r.setNeighbour(ep), ep.finishInside()); err != nil {
		return err
	}
	return errors.Join(running(r.host, ep.device), running(ep.pod, ep.inside))
}

// running waits until the device transmits. The second end of a pair to be raised does so at once, the first only after the
// kernel's link watch has seen its carrier (net/core/link_watch.c), and drops packets until then.
func running(h *netlink.Handle, device int) error {
	const patience = 5 * time.Second
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		link, err := h.LinkByIndex(device)
		if err != nil {
			return fmt.Errorf("reading device %d: %w", device, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("device %s is %v, not up, after %v", link.Attrs().Name, link.Attrs().OperState, patience)
		}
	}
}

// finishInside completes the inside of the pod's namespace.
func (ep *endpoint) finishInside() error {
	if err := inside(ep.ns, func() error { return writeAll(podSysctls()) }); err != nil {
		return err
	}
	eth0, err := ep.eth0()
	if err != nil {
		return err
	}
	ep.inside = eth0.Attrs().Index
	lo, err := ep.pod.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("reading its lo: %w", err)
	}
	for _, link := range []netlink.Link{lo, eth0} {
		if err := ep.pod.LinkSetUp(link); err != nil {
			return fmt.Errorf("raising its %s: %w", link.Attrs().Name, err)
		}
	}
	if err := ep.pod.AddrReplace(eth0, &netlink.Addr{IPNet: netOf(ep.addr)}); err != nil {
		return fmt.Errorf("setting its address: %w", err)
	}
	err = ep.pod.NeighSet(&netlink.Neigh{
		LinkIndex: ep.inside, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: ipOf(gateway()), HardwareAddr: gatewayMAC(),
	})
	if err != nil {
		return fmt.Errorf("setting its gateway's neighbour: %w", err)
	}
	err = ep.pod.RouteAdd(ep.egress(ep.inside))
	if err != nil && !errors.Is(err, unix.EEXIST) { // whichever there is: a shut egress stays shut
		return fmt.Errorf("setting its default route: %w", err)
	}
	return nil
}

func (ep *endpoint) eth0() (netlink.Link, error) {
	link, err := ep.pod.LinkByName("eth0")
	return link, wrap(err, "reading its eth0")
}

// egress is the pod's default route. The gateway is on-link, so that no second route leads out.
func (ep *endpoint) egress(eth0 int) *netlink.Route {
	return &netlink.Route{Dst: everywhere(), LinkIndex: eth0, Gw: ipOf(gateway()), Flags: int(netlink.FLAG_ONLINK)}
}

// clear removes what stands in the way of a new place: halves that an agent left when it was killed.
func (r *Router) clear(uid, path string) error {
	link, err := r.host.LinkByName(vethName(uid))
	switch {
	case errors.As(err, &netlink.LinkNotFoundError{}):
	case err != nil:
		return fmt.Errorf("reading device %s: %w", vethName(uid), err)
	default:
		if !isHostDevice(link) {
			return fmt.Errorf("device %s %w: rename or remove it (ip link del %[1]s)", vethName(uid), ErrForeign)
		}
		if err := r.host.LinkDel(link); err != nil {
			return fmt.Errorf("removing an old device: %w", err)
		}
	}
	return removeNamespace(path)
}

// isHostDevice tells a pod's host device from another of its name.
func isHostDevice(link netlink.Link) bool {
	return link.Type() == "veth" && bytes.Equal(link.Attrs().HardwareAddr, gatewayMAC())
}

// RemovePod takes the pod's place away. Its egress is shut before anything else happens, so that no RST or FIN of its sockets leaves, whether its processes live or not; to kill them before, call
// ShutEgress first. A pod that was diverted leaves a route behind that sends on what nodes with an old view send here, until a Set doesn't
// know the pod any more. Removing what isn't here is no error.
func (r *Router) RemovePod(ctx context.Context, uid string) error {
	r.making.Lock()
	defer r.making.Unlock()
	if err := r.ready(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	ep := r.pods[uid]
	r.mu.Unlock()
	if ep == nil {
		if !uidPattern.MatchString(uid) {
			return fmt.Errorf("pod uid %q is none", uid)
		}
		return wrap(r.clear(uid, filepath.Join(r.cfg.NamesDir, namePrefix+uid)), "removing the network of pod %s", uid)
	}
	err := ep.use(func() error {
		if err := ep.shut(); err != nil {
			r.cfg.Log.Warn("removing a pod's network without having shut its egress", "pod", uid, "err", err)
		}
		r.mu.Lock()
		delete(r.pods, uid)
		delete(r.at, ep.addr)
		if ep.diverted.IsValid() {
			r.sentOn[ep.addr] = ep.diverted
		}
		err := r.setPodLocked(ep.addr, nil)
		r.mu.Unlock()
		return errors.Join(err, r.clear(uid, ep.path), ep.close())
	})
	return wrap(err, "removing the network of pod %s", uid)
}
