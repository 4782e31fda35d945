package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Status is what the kernel has at the moment.
type Status struct {
	Overlay Overlay
	Peers   []Peer      // with a tunnel; sorted by node
	Pods    []PodStatus // that stand here; sorted by uid
	Routes  int         // in our tables
	SentOn  int         // pods that left, whose packets are sent on
}

// Overlay is the overlay device. The zero value says that there is none.
type Overlay struct {
	Device             string
	VNI, Port, MTU     int
	Up                 bool
	RxPackets, RxBytes uint64
	TxPackets, TxBytes uint64
}

// PodStatus is a pod's place at this host.
type PodStatus struct {
	UID       string
	Addr      netip.Addr
	NetNS     string // path
	Device    string // host device
	Owner     string // node, as the last Set said; "" if it didn't know the pod
	Held      bool
	Diverted  netip.Addr // underlay address of the node that its packets go on to, if any
	EgressCut bool       // see ShutEgress
}

// Status reads it; for people, and for tests of health.
func (r *Router) Status(ctx context.Context) (Status, error) {
	var s Status
	have, err := r.kernelRoutes()
	if err != nil {
		return s, err
	}
	s.Routes = len(have)
	if link, err := r.host.LinkByName(Device); err == nil {
		s.Overlay = overlayStatus(link)
	}
	r.mu.Lock()
	desired, endpoints := r.desired, make(map[*endpoint]state, len(r.pods))
	for _, ep := range r.pods {
		endpoints[ep] = ep.state
	}
	s.SentOn = len(r.sentOn)
	r.mu.Unlock()
	for node, underlay := range desired.peers {
		s.Peers = append(s.Peers, Peer{node, underlay})
	}
	for ep, st := range endpoints {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		p := PodStatus{UID: ep.uid, Addr: ep.addr, NetNS: ep.path, Device: vethName(ep.uid), Held: st.held, Diverted: st.diverted}
		if owner, ok := desired.owners[ep.addr]; ok {
			p.Owner = cmp.Or(owner, r.cfg.Node)
		}
		err := ep.use(func() (err error) { p.EgressCut, err = ep.egressCut(); return err })
		if errors.Is(err, ErrNoPod) {
			continue // removed meanwhile
		} else if err != nil {
			return s, fmt.Errorf("reading the routes of pod %s: %w", ep.uid, err)
		}
		s.Pods = append(s.Pods, p)
	}
	slices.SortFunc(s.Peers, func(a, b Peer) int { return cmp.Compare(a.Node, b.Node) })
	slices.SortFunc(s.Pods, func(a, b PodStatus) int { return cmp.Compare(a.UID, b.UID) })
	return s, nil
}

func overlayStatus(link netlink.Link) Overlay {
	attrs := link.Attrs()
	o := Overlay{Device: attrs.Name, MTU: attrs.MTU, Up: attrs.RawFlags&unix.IFF_UP != 0}
	if vx, ok := link.(*netlink.Vxlan); ok {
		o.VNI, o.Port = vx.VxlanId, vx.Port
	}
	if st := attrs.Statistics; st != nil {
		o.RxPackets, o.RxBytes, o.TxPackets, o.TxBytes = st.RxPackets, st.RxBytes, st.TxPackets, st.TxBytes
	}
	return o
}

// egressCut says whether the pod's default route leads nowhere.
func (ep *endpoint) egressCut() (bool, error) {
	all, err := ep.pod.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return false, err
	}
	for _, rt := range all {
		if keyOf(&rt).dst.Bits() == 0 && rt.Type == unix.RTN_UNICAST {
			return false, nil
		}
	}
	return true, nil
}
