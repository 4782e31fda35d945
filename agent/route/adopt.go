package route

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// adopt reads back the places that an earlier Router made, and the pods that were sent on.
func (r *Router) adopt(context.Context) error {
	links, err := r.host.LinkList()
	if err != nil {
		return fmt.Errorf("listing devices: %w", err)
	}
	for _, link := range links {
		attrs := link.Attrs()
		rec, ok := parseRecord(attrs.Alias)
		if !ok || attrs.Name != vethName(rec.uid) || !isHostDevice(link) {
			continue
		}
		ep := &endpoint{uid: rec.uid, addr: rec.addr, device: attrs.Index, state: rec.state}
		ep.path = filepath.Join(r.cfg.NamesDir, namePrefix+rec.uid)
		if ep.ns, err = openNamespace(ep.path); errors.Is(err, os.ErrNotExist) {
			continue // half made or half removed: PreparePod and RemovePod clear it
		} else if err != nil {
			return err
		}
		if ep.pod, err = netlink.NewHandleAt(ep.ns, unix.NETLINK_ROUTE, unix.NETLINK_INET_DIAG); err != nil {
			return errors.Join(fmt.Errorf("opening netlink in the namespace of pod %s: %w", rec.uid, err), ep.ns.Close())
		}
		r.pods[ep.uid], r.at[ep.addr] = ep, ep
	}
	have, err := r.kernelRoutes()
	if err != nil {
		return err
	}
	for key, rt := range have {
		if addr := key.dst.Addr(); key.table == TableHere && key.pod() && r.at[addr] == nil && rt.Gw != nil {
			r.sentOn[addr] = addrOf(rt.Gw)
		}
	}
	return nil
}
