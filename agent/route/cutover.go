package route

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cutover is the source's side of a pod's move, with all that it needs opened ahead: each of its operations takes a
// fraction of a millisecond, and doing one twice is harmless. A migration calls them in this order, see the methods:
// Divert, Drain, ShutEgress at the source, then Release at the target; to go back OpenEgress, Undivert at the source, and
// only then RemovePod at the target.
type Cutover struct {
	r      *Router
	ep     *endpoint
	target netip.Addr
	eth0   int
}

// Cutover readies the move of a pod that stands here to another node, which must be a peer; with no node it is only good for
// the way back, OpenEgress and Undivert, which need no peer. The caller closes it.
func (r *Router) Cutover(uid, node string) (*Cutover, error) {
	ep, err := r.endpoint(uid)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	target, ok := r.desired.peers[node]
	r.mu.Unlock()
	if !ok && node != "" {
		return nil, fmt.Errorf("moving pod %s: node %q is no peer of %s", uid, node, r.cfg.Node)
	}
	c := &Cutover{r: r, ep: ep, target: target}
	err = ep.use(func() error {
		link, err := ep.eth0()
		if err == nil {
			c.eth0 = link.Attrs().Index
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("moving pod %s: %w", uid, err)
	}
	return c, nil
}

// Divert sends on to the target what this host has or gets for the pod. It lasts until Undivert, also beyond Close, this
// process and RemovePod.
func (c *Cutover) Divert() error {
	if !c.target.IsValid() {
		return fmt.Errorf("diverting pod %s: no node was named", c.ep.uid)
	}
	return c.divert(c.target)
}

// Undivert makes the pod's packets go to it again.
func (c *Cutover) Undivert() error { return c.divert(netip.Addr{}) }

func (c *Cutover) divert(to netip.Addr) error {
	return c.ep.use(func() error {
		if err := c.r.note(c.ep, func(s *state) { s.diverted = to }); err != nil {
			return err
		}
		return c.r.setPod(c.ep.addr, nil)
	})
}

// ShutEgress makes the pod's kernel drop what its sockets send, at route look-up, where a packet isn't counted as sent
// (a packet lost later costs the restored socket a time-out). The pod still reaches itself.
func (c *Cutover) ShutEgress() error {
	return c.ep.use(c.ep.shut)
}

func (ep *endpoint) shut() error {
	return wrap(ep.pod.RouteReplace(&netlink.Route{Dst: everywhere(), Type: unix.RTN_BLACKHOLE}), "shutting the egress of pod %s", ep.uid)
}

// OpenEgress undoes ShutEgress.
func (c *Cutover) OpenEgress() error {
	return c.ep.use(func() error {
		return wrap(c.ep.pod.RouteReplace(c.ep.egress(c.eth0)), "opening the egress of pod %s", c.ep.uid)
	})
}

// Close ends the use of the Cutover and changes nothing else.
func (c *Cutover) Close() error { return nil }

func everywhere() *net.IPNet { return prefixOf(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) }
