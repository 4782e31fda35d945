package preflight

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// given are the network devices that every pod has at every node; fallback are those that the kernel makes in each namespace
// when it has the module for them, switched off.
func given() []string { return []string{"lo", "eth0"} }

func fallback() []string {
	return []string{"tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"}
}

// checkNetwork looks at the pod's sockets, and for what the pod has changed in its network: that is not dumped, but made
// anew at the target, so that such changes would be lost without a word.
func (l *look) checkNetwork() error {
	path := l.netns
	if path == "" {
		path = fmt.Sprintf("/proc/%d/ns/net", l.containers[0].Init)
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("opening the pod's network namespace: %w", err)
	}
	defer ns.Close()
	if err := l.checkSockets(ns); err != nil {
		return err
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("asking for the pod's network devices: %w", err)
	}
	defer handle.Close()
	links, err := handle.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("asking for the pod's network devices: %w", err)
	}
	first := l.containers[0]
	for _, link := range links {
		a := link.Attrs()
		if !slices.Contains(given(), a.Name) && !slices.Contains(fallback(), a.Name) {
			l.blame(first, "remove it, or make it outside of the pod", "the pod's network has the device %s (%s), which would be lost", a.Name, link.Type())
		}
	}
	return l.checkRules(first, ns)
}

// checkRules finds packet filters of the pod's own.
func (l *look) checkRules(c *container, ns netns.NsHandle) error {
	const cure, reason = "remove them, or filter outside of the pod", "the pod's network has rules of %s, which would be lost"
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return fmt.Errorf("asking for the pod's packet filters: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPROTONOSUPPORT) { // nf_tables is not there
		return fmt.Errorf("asking for the pod's packet filters: %w", err)
	}
	if len(tables) > 0 {
		l.blame(c, cure, reason, "nftables")
	}
	for _, list := range []string{"ip_tables_names", "ip6_tables_names"} {
		if names, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", c.Init, list)); err == nil && strings.TrimSpace(string(names)) != "" {
			l.blame(c, cure, reason, strings.TrimSuffix(list, "_names"))
		}
	}
	return nil
}
