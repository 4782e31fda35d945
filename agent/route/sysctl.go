package route

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sysctl is one setting, by its path below /proc/sys/net.
type sysctl struct{ path, value string }

// write sets it in the network namespace of the calling thread, see inside. A setting that this kernel lacks (IPv6 or MPTCP
// not built in) is no error: what it would switch off isn't there.
func (s sysctl) write() error {
	path := filepath.Join("/proc/sys/net", s.path)
	now, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && strings.TrimSpace(string(now)) == s.value {
		return nil
	}
	if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
		return fmt.Errorf("setting net.%s to %s: %w", strings.ReplaceAll(s.path, "/", "."), s.value, err)
	}
	return nil
}

func writeAll(settings []sysctl) error {
	var errs []error
	for _, s := range settings {
		errs = append(errs, s.write())
	}
	return errors.Join(errs...)
}

// deviceSysctls are for the overlay and for every pod's host device. Sources are not checked against routes, because a pod
// that is on the move sends from where no route leads to it. Nothing announces itself or sends redirects, and losing the carrier
// for a moment ends no hold.
func deviceSysctls(device string) []sysctl {
	conf := "ipv4/conf/" + device
	return []sysctl{
		{conf + "/forwarding", "1"},
		{conf + "/rp_filter", "0"},
		{conf + "/send_redirects", "0"},
		{conf + "/accept_redirects", "0"},
		{conf + "/arp_evict_nocarrier", "0"},
		{"ipv6/conf/" + device + "/disable_ipv6", "1"},
	}
}

// acceptLocal is for devices over which a packet of this host may come back to it: the overlay, when a node with a diverted
// route sends it on to a pod that stands here; a pod's device when a hold is handed back.
func acceptLocal(device string) sysctl { return sysctl{"ipv4/conf/" + device + "/accept_local", "1"} }

// podSysctls are for the inside of a pod's namespace. MPTCP is off because CRIU can't dump it, and Go programs listen with
// it by default.
func podSysctls() []sysctl {
	return []sysctl{
		{"mptcp/enabled", "0"},
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/eth0/rp_filter", "0"},
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv4/conf/eth0/send_redirects", "0"},
		{"ipv4/conf/eth0/accept_redirects", "0"},
		{"ipv4/conf/eth0/arp_notify", "0"},
		{"ipv6/conf/eth0/disable_ipv6", "1"},
	}
}
