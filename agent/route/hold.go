package route

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Hold makes the kernel queue what goes to the pod, up to holdBytes, until Release. The queue is that of the pod's neighbour
// entry, made INCOMPLETE by hand: unlike one that the kernel made so, it has no timer that ends it (net/core/neighbour.c,
// __neigh_update), and being marked as externally learned it is not collected either.
func (r *Router) Hold(uid string) error {
	ep, err := r.endpoint(uid)
	if err != nil {
		return err
	}
	return ep.use(func() error {
		if err := r.note(ep, func(s *state) { s.held = true }); err != nil {
			return err
		}
		return wrap(r.queue(ep, ep.addr), "holding pod %s", uid)
	})
}

// Release hands the queue to the pod, and then lets packets pass; none is lost, and they stay in order
// as far as the kernel's queues per CPU keep it. A neighbour's queue
// alone would not keep it: packets that come while the kernel works it off overtake it. So they go to the queue of a second
// neighbour meanwhile, then to a third's, each shorter than the one before, until the last holds a packet or none.
// A pod that isn't held stays as it is.
func (r *Router) Release(uid string) error {
	ep, err := r.endpoint(uid)
	if err != nil {
		return err
	}
	return ep.use(func() error { return r.release(ep) })
}

func (r *Router) release(ep *endpoint) error {
	r.mu.Lock()
	held := ep.held
	r.mu.Unlock()
	if !held {
		return nil
	}
	relays := relays()
	turns := []struct{ open, next netip.Addr }{{ep.addr, relays[0]}, {relays[0], relays[1]}, {relays[1], ep.addr}}
	for _, turn := range turns {
		err := errors.Join(r.queue(ep, turn.next), r.relay(ep, turn.next), r.pass(ep, turn.open))
		if err != nil {
			return errors.Join(fmt.Errorf("releasing pod %s: %w", ep.uid, err), r.passAll(ep))
		}
	}
	return errors.Join(r.passAll(ep), r.note(ep, func(s *state) { s.held = false }))
}

// relay leads the pod's packets over one of its neighbours.
func (r *Router) relay(ep *endpoint, via netip.Addr) error {
	if via == ep.addr {
		via = netip.Addr{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ep.relay = via
	return r.setPodLocked(ep.addr, nil)
}

// passAll opens the pod's own neighbour, and the relays' for what an interrupted release left there, and removes the relays.
func (r *Router) passAll(ep *endpoint) error {
	errs := []error{r.relay(ep, ep.addr), r.pass(ep, ep.addr)}
	for _, relay := range relays() {
		n := ep.neighbour(relay)
		errs = append(errs, r.pass(ep, relay), r.host.NeighDel(&n))
	}
	return wrap(errors.Join(errs...), "releasing pod %s", ep.uid)
}

// queue makes a neighbour queue packets.
func (r *Router) queue(ep *endpoint, key netip.Addr) error {
	n := ep.neighbour(key)
	n.State, n.Flags, n.HardwareAddr = netlink.NUD_INCOMPLETE, netlink.NTF_EXT_LEARNED, nil
	return wrap(r.host.NeighSet(&n), "making neighbour %v queue", key)
}

// pass makes a neighbour forward: first what it queued, before netlink answers.
func (r *Router) pass(ep *endpoint, key netip.Addr) error {
	n := ep.neighbour(key)
	return wrap(r.host.NeighSet(&n), "making neighbour %v permanent", key)
}

func (ep *endpoint) neighbour(key netip.Addr) netlink.Neigh {
	return netlink.Neigh{LinkIndex: ep.device, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: ipOf(key), HardwareAddr: podMAC(ep.addr)}
}

// note changes the pod's state and records it in the alias of its device, ahead of what is done about it.
func (r *Router) note(ep *endpoint, change func(*state)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := ep.state
	change(&next)
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: ep.device}}
	if err := r.host.LinkSetAlias(link, record{ep.uid, ep.addr, next}.String()); err != nil {
		return fmt.Errorf("recording the state of pod %s: %w", ep.uid, err)
	}
	ep.state = next
	return nil
}

// setNeighbour puts the pod's neighbour entry back as its state wants it. It leaves a held pod's entry alone if somebody opened
// it: the packets are gone from it, and the next Release comes right. The caller holds op, or has the place for itself.
func (r *Router) setNeighbour(ep *endpoint) error {
	r.mu.Lock()
	held := ep.held
	r.mu.Unlock()
	all, err := r.host.NeighList(ep.device, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing the neighbours of pod %s: %w", ep.uid, err)
	}
	state := netlink.NUD_NONE
	for _, n := range all {
		if addrOf(n.IP) == ep.addr {
			state = n.State
		}
	}
	switch {
	case held && state != netlink.NUD_INCOMPLETE && state != netlink.NUD_PERMANENT:
		return r.queue(ep, ep.addr)
	case !held && state != netlink.NUD_PERMANENT:
		return r.pass(ep, ep.addr)
	}
	return nil
}
