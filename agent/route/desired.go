package route

import (
	"errors"
	"fmt"
	"net/netip"
)

// Desired is what the mesh has agreed, as this host knows it.
type Desired struct {
	Peers []Peer // other nodes; this node may be among them
	Pods  []Pod  // every pod of the mesh
}

// Peer is a node that can be reached.
type Peer struct {
	Node     string
	Underlay netip.Addr // IPv4
}

// Pod is a pod and its owner.
type Pod struct {
	UID  string
	Addr netip.Addr
	Node string // owner; "" or this node's name means here. A pod of a node that is no peer is unreachable.
}

// index is a checked Desired, arranged for look-up.
type index struct {
	peers  map[string]netip.Addr // underlay by node, without this node
	owners map[netip.Addr]string // owner by pod address, "" for this node
	uids   map[netip.Addr]string // uid by pod address
}

func (d Desired) index(cfg Config) (index, error) {
	x := index{peers: map[string]netip.Addr{}, owners: map[netip.Addr]string{}, uids: map[netip.Addr]string{}}
	var errs []error
	taken := map[netip.Addr]string{cfg.Underlay: cfg.Node}
	for _, p := range d.Peers {
		switch other, dup := taken[p.Underlay]; {
		case p.Node == cfg.Node:
		case p.Node == "" || !p.Underlay.Is4() || cfg.PodCIDR.Contains(p.Underlay):
			errs = append(errs, fmt.Errorf("peer %q: underlay address %v: need a name and an IPv4 address outside of the pod CIDR", p.Node, p.Underlay))
		case dup:
			errs = append(errs, fmt.Errorf("peer %s: underlay address %v is that of %s", p.Node, p.Underlay, other))
		default:
			taken[p.Underlay] = p.Node
			x.peers[p.Node] = p.Underlay
		}
	}
	for _, p := range d.Pods {
		if err := checkPod(p.UID, p.Addr, cfg.PodCIDR); err != nil {
			errs = append(errs, err)
			continue
		}
		if other, dup := x.uids[p.Addr]; dup {
			errs = append(errs, fmt.Errorf("pod %s: address %v is that of pod %s", p.UID, p.Addr, other))
			continue
		}
		x.uids[p.Addr] = p.UID
		x.owners[p.Addr] = p.Node
		if p.Node == cfg.Node {
			x.owners[p.Addr] = ""
		}
	}
	return x, errors.Join(errs...)
}

// hop is where packets go next: to a neighbour on a device. The zero value is nowhere.
type hop struct {
	device int
	via    netip.Addr // not valid: the destination itself is the neighbour
}

// standing is how a pod stands at this host: the zero value says that it does not.
type standing struct {
	device   int        // its host device
	relay    netip.Addr // a release is under way: the neighbour whose turn it is
	diverted netip.Addr // underlay of the node that its packets go on to
	sentOn   netip.Addr // it has left, diverted to there
}

// hops decides a pod's routes, by the table in the package's documentation. It is pure.
func (x index) hops(addr netip.Addr, overlay int, s standing) (here, mesh hop) {
	owner, known := x.owners[addr]
	toOwner := hop{}
	if underlay, ok := x.peers[owner]; ok && overlay != 0 {
		toOwner = hop{overlay, underlay}
	}
	switch {
	case s.diverted.IsValid():
		here = hop{overlay, s.diverted}
	case s.device != 0:
		here = hop{s.device, s.relay}
	case s.sentOn.IsValid() && owner != "":
		here = toOwner
	case s.sentOn.IsValid():
		here = hop{overlay, s.sentOn}
	}
	switch {
	case known && owner != "":
		mesh = toOwner
	case s.diverted.IsValid() || known:
		mesh = here
	}
	return here, mesh
}
