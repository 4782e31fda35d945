package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Set makes the host's overlay, rules and routes those that follow from d and from what stands here. It writes only what
// differs, so calling it twice is harmless, and calling it from time to time repairs what others changed. It may run at any
// moment of a move: the states that PreparePod, Hold and Divert made stay. It does all it can and returns the errors of the
// rest, joined; a d that contradicts itself changes nothing.
func (r *Router) Set(ctx context.Context, d Desired) error {
	next, err := d.index(r.cfg)
	if err != nil {
		return fmt.Errorf("desired routes: %w", err)
	}
	r.setting.Lock()
	defer r.setting.Unlock()
	if r.closed {
		return errors.New("setting routes: the router is closed")
	}
	r.mu.Lock()
	r.desired = next
	peers := r.reached()
	r.mu.Unlock()

	if err := r.forwarding(ctx); err != nil {
		return err
	}
	overlay, err := r.setOverlay(peers)
	if err != nil {
		return err
	}
	errs := []error{r.setRules()}
	have, err := r.kernelRoutes()
	if err != nil {
		return err
	}
	errs = append(errs, r.setFixed(have, overlay, next))
	for addr := range r.concerned(have) {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		errs = append(errs, r.setPod(addr, have))
	}
	for _, ep := range r.endpoints() {
		err := ep.use(func() error { return r.setNeighbour(ep) })
		if !errors.Is(err, ErrNoPod) { // removed meanwhile
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// reached are the peers, and the nodes that packets of pods here are diverted to, should one have left the peers.
func (r *Router) reached() map[string]netip.Addr {
	all := map[string]netip.Addr{}
	known := map[netip.Addr]bool{}
	for node, underlay := range r.desired.peers {
		all[node], known[underlay] = underlay, true
	}
	for uid, ep := range r.pods {
		if ep.diverted.IsValid() && !known[ep.diverted] {
			all["pod "+uid] = ep.diverted
		}
	}
	return all
}

// concerned are the addresses that have or should have a pod's routes.
func (r *Router) concerned(have routes) map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	for key := range have {
		if key.pod() {
			all[key.dst.Addr()] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for addr := range r.desired.owners {
		all[addr] = true
	}
	for _, ep := range r.pods {
		all[ep.addr] = true
	}
	return all
}

// routeKey is what the kernel tells routes of a table apart by.
type routeKey struct {
	table, metric, tos int
	dst                netip.Prefix
}

// pod says that the route is a pod's: that is how setPod writes them.
func (k routeKey) pod() bool {
	return k.table != TablePeers && k.metric == 0 && k.tos == 0 && k.dst.IsSingleIP()
}

type routes map[routeKey]netlink.Route

func keyOf(rt *netlink.Route) routeKey {
	key := routeKey{table: rt.Table, metric: rt.Priority, tos: rt.Tos, dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	if rt.Dst != nil {
		bits, _ := rt.Dst.Mask.Size()
		key.dst = netip.PrefixFrom(addrOf(rt.Dst.IP), bits)
	}
	return key
}

// kernelRoutes reads our tables.
func (r *Router) kernelRoutes() (routes, error) {
	all, err := r.host.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	ours := routes{}
	for _, rt := range all {
		if rt.Table == TableHere || rt.Table == TableMesh || rt.Table == TablePeers {
			ours[keyOf(&rt)] = rt
		}
	}
	return ours, nil
}

// route is the one that leads to dst by h. Packets that this host itself sends bear its underlay address.
func (r *Router) route(table int, dst netip.Addr, h hop) *netlink.Route {
	rt := &netlink.Route{Table: table, Dst: netOf(dst), LinkIndex: h.device, Protocol: Protocol, Type: unix.RTN_UNICAST, Scope: netlink.SCOPE_LINK}
	if h.via.IsValid() {
		rt.Gw, rt.Flags, rt.Scope = ipOf(h.via), int(netlink.FLAG_ONLINK), netlink.SCOPE_UNIVERSE
	}
	if table != TableHere {
		rt.Src = ipOf(r.cfg.Underlay)
	}
	return rt
}

func unreachable(table int, dst netip.Prefix) *netlink.Route {
	return &netlink.Route{Table: table, Dst: prefixOf(dst), Protocol: Protocol, Type: unix.RTN_UNREACHABLE}
}

func sameRoute(a, b *netlink.Route) bool {
	return a.Type == b.Type && a.LinkIndex == b.LinkIndex && a.Gw.Equal(b.Gw) && a.Src.Equal(b.Src) && a.Scope == b.Scope &&
		a.Protocol == b.Protocol && len(a.MultiPath) == 0 && a.Encap == nil && a.MTU == 0
}

// put writes a route unless the kernel is known to have it.
func (r *Router) put(rt *netlink.Route, have routes) error {
	if old, ok := have[keyOf(rt)]; ok && sameRoute(&old, rt) {
		return nil
	}
	return wrap(r.host.RouteReplace(rt), "setting the route to %v in table %d", rt.Dst, rt.Table)
}

func (r *Router) drop(rt *netlink.Route) error {
	err := r.host.RouteDel(rt)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return wrap(err, "removing the route to %v from table %d", rt.Dst, rt.Table)
}

// setFixed sees to the routes that are no pod's, and removes what isn't ours from our tables.
func (r *Router) setFixed(have routes, overlay int, x index) error {
	want := []*netlink.Route{
		unreachable(TableHere, netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
		unreachable(TableMesh, r.cfg.PodCIDR),
	}
	for _, underlay := range x.peers {
		want = append(want, r.route(TablePeers, underlay, hop{overlay, underlay}))
	}
	keep := map[routeKey]bool{}
	var errs []error
	for _, rt := range want {
		keep[keyOf(rt)] = true
		errs = append(errs, r.put(rt, have))
	}
	for key, rt := range have {
		if !keep[key] && !key.pod() {
			errs = append(errs, r.drop(&rt))
		}
	}
	return errors.Join(errs...)
}

// setPod writes a pod's routes as they follow from the state now; have is what the kernel had a moment ago, or nil.
func (r *Router) setPod(addr netip.Addr, have routes) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.desired.owners[addr]; !known {
		delete(r.sentOn, addr)
	}
	return r.setPodLocked(addr, have)
}

func (r *Router) setPodLocked(addr netip.Addr, have routes) error {
	here, mesh := r.desired.hops(addr, r.overlay, r.standing(addr))
	return errors.Join(r.lead(TableHere, addr, here, have), r.lead(TableMesh, addr, mesh, have))
}

// lead makes the table's route to addr lead over h, or away if h is nowhere.
func (r *Router) lead(table int, addr netip.Addr, h hop, have routes) error {
	if h != (hop{}) {
		return r.put(r.route(table, addr, h), have)
	}
	rt := &netlink.Route{Table: table, Dst: netOf(addr)}
	if old, ok := have[keyOf(rt)]; ok {
		rt = &old
	} else if have != nil {
		return nil
	}
	return r.drop(rt)
}

// standing is how the pod of that address stands here. The caller holds mu.
func (r *Router) standing(addr netip.Addr) standing {
	if ep := r.at[addr]; ep != nil {
		return standing{device: ep.device, relay: ep.relay, diverted: ep.diverted}
	}
	return standing{sentOn: r.sentOn[addr]}
}

func (r *Router) removeRoutes() error {
	have, err := r.kernelRoutes()
	errs := []error{err}
	for _, rt := range have {
		errs = append(errs, r.drop(&rt))
	}
	return errors.Join(errs...)
}
