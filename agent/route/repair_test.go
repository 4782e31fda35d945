//go:build root

package route

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Whatever somebody does to what is ours, one Set mends it, without ending a hold or a diversion.
func TestSetRepairs(t *testing.T) {
	device := func(s *site) int {
		link, err := s.nl.LinkByName(Device)
		require.NoError(s.t, err)
		return link.Attrs().Index
	}
	flush := func(s *site, family int) {
		links, err := s.nl.LinkList()
		require.NoError(s.t, err)
		for _, l := range links {
			if l.Attrs().Name == "wan" {
				continue
			}
			all, err := s.nl.NeighList(l.Attrs().Index, family)
			require.NoError(s.t, err)
			for _, n := range all {
				n.Family = family
				if family == unix.AF_BRIDGE {
					n.Flags = netlink.NTF_SELF
				}
				require.NoError(s.t, s.nl.NeighDel(&n))
			}
		}
	}
	harms := map[string]func(s *site){
		"nothing": func(*site) {},
		"routes": func(s *site) {
			all, err := s.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: Protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
			require.NoError(s.t, err)
			for _, rt := range all {
				if rt.Table != unix.RT_TABLE_MAIN && rt.Table != unix.RT_TABLE_LOCAL {
					require.NoError(s.t, s.nl.RouteDel(&rt))
				}
			}
		},
		"rules": func(s *site) {
			for _, rule := range s.r.rules() {
				require.NoError(s.t, s.nl.RuleDel(rule))
			}
		},
		"neighbours":         func(s *site) { flush(s, netlink.FAMILY_V4) },
		"forwarding entries": func(s *site) { flush(s, unix.AF_BRIDGE) },
		"the device": func(s *site) {
			link, err := s.nl.LinkByIndex(device(s))
			require.NoError(s.t, err)
			require.NoError(s.t, s.nl.LinkDel(link))
		},
		"the device is down": func(s *site) {
			link, err := s.nl.LinkByIndex(device(s))
			require.NoError(s.t, err)
			require.NoError(s.t, s.nl.LinkSetDown(link))
		},
		"settings": func(s *site) {
			s.sysctl("ipv4/conf/"+Device+"/accept_local", "0")
			s.sysctl("ipv4/ip_forward", "0")
		},
		"wrong entries": func(s *site) {
			for _, other := range s.r.desired.peers {
				for _, n := range []netlink.Neigh{
					{LinkIndex: device(s), Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: ipOf(other), HardwareAddr: gatewayMAC()},
					{LinkIndex: device(s), Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 9, 9, 9), HardwareAddr: vtepMAC(other)},
				} {
					require.NoError(s.t, s.nl.NeighSet(&n))
				}
			}
		},
		"wrong routes": func(s *site) {
			for i := range 10 {
				require.NoError(s.t, s.nl.RouteReplace(&netlink.Route{Table: TableMesh, Dst: netOf(podAddr(i)), Type: unix.RTN_BLACKHOLE}))
				require.NoError(s.t, s.nl.RouteReplace(&netlink.Route{Table: TableHere, Dst: netOf(podAddr(i)), Type: unix.RTN_PROHIBIT}))
			}
			require.NoError(s.t, s.nl.RouteReplace(&netlink.Route{Table: TableHere, Dst: everywhere(), Type: unix.RTN_BLACKHOLE}))
		},
	}
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			m := newMover(t, "nyc")
			close(m.flow.stop)
			require.NoError(t, m.cut.Divert())
			healthy := make([]string, len(m.sites))
			for i, s := range m.sites {
				healthy[i] = s.dump()
				harm(s)
				if s != m.nyc { // also by an agent that was away
					require.NoError(t, s.r.Close())
					s.open()
				}
				s.set(m.desired(m.owner("ams")))
				if name != "the device" { // its index differs
					require.Equal(t, healthy[i], s.dump(), s.name)
				}
			}
			p8 := openPlace(t, m.nyc.r.pods[uidOf(8)].path)
			conn := p8.dial("udp4", podAddr(5), 80)
			_, err := conn.Write([]byte("hello"))
			require.NoError(t, err)
			m.to.echo(80)
			require.NoError(t, m.fra.r.Release(uidOf(5)))
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
			buf := make([]byte, 16)
			n, err := conn.Read(buf)
			require.NoError(t, err)
			require.Equal(t, "hello", string(buf[:n]), "it was held, and released")
		})
	}
}

func TestSetTouchesNothingOfOthers(t *testing.T) {
	w := newWorld(t, "ams", "fra")
	ams := w.sites[0]
	for _, table := range []int{unix.RT_TABLE_MAIN, 100, TableHere - 1, TablePeers + 1} {
		for _, proto := range []netlink.RouteProtocol{unix.RTPROT_STATIC, Protocol} {
			dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, byte(table), byte(proto)}), 32)
			rt := &netlink.Route{Table: table, Dst: prefixOf(dst), Type: unix.RTN_BLACKHOLE, Protocol: proto}
			require.NoError(t, ams.nl.RouteAdd(rt))
		}
	}
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.Family = 100, 100, netlink.FAMILY_V4
	require.NoError(t, ams.nl.RuleAdd(rule))
	with := ams.dump()
	stray := netlink.NewRule()
	stray.Priority, stray.Table, stray.Family = 200, TableMesh, netlink.FAMILY_V4
	require.NoError(t, ams.nl.RuleAdd(stray))
	require.NoError(t, ams.nl.RouteAdd(&netlink.Route{Table: TablePeers, Dst: prefixOf(netip.MustParsePrefix("10.5.0.0/16")), Type: unix.RTN_BLACKHOLE, Priority: 7}))
	w.set()
	require.Equal(t, with, ams.dump(), "strays in our tables go, others stay")
	require.NoError(t, ams.r.Teardown(t.Context()))
	require.Contains(t, ams.dump(), "table 100")
	require.Contains(t, ams.dump(), "10.99.100.88/32")
	ams.before = ams.dump()
}

// A peer gets another address, or leaves, or the underlay's MTU changes.
func TestSetFollowsThePeers(t *testing.T) {
	w := newWorld(t, "ams", "fra", "nyc")
	ams, fra := w.sites[0], w.sites[1]
	owners := map[int]string{5: "fra", 6: "ams"}
	w.set(owners)
	p5, p6 := fra.pod(5, false), ams.pod(6, false)
	p5.echo(80)
	p6.reaches(podAddr(5), 80)

	d := w.desired(owners)
	d.Peers = d.Peers[:1] // alone
	ams.set(d)
	p6.inside(func() error {
		_, err := net.Dial("tcp4", podAddr(5).String()+":80")
		require.ErrorContains(t, err, "no route to host")
		return nil
	})
	status, err := ams.r.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, status.Peers)
	w.set(owners)
	p6.reaches(podAddr(5), 80)

	link, err := ams.nl.LinkByName("wan")
	require.NoError(t, err)
	require.NoError(t, ams.nl.LinkSetMTU(link, 1400))
	w.set(owners)
	status, err = ams.r.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1350, status.Overlay.MTU)
	p6.reaches(podAddr(5), 80)

	require.ErrorContains(t, ams.r.Set(t.Context(), Desired{Peers: []Peer{{"x", fra.cfg.Underlay}, {"y", fra.cfg.Underlay}}}), "is that of x")
	p6.reaches(podAddr(5), 80) // nothing changed
}

// Pods come, change their state and go by several hands at once, while reconcilers run and the Router is asked for its status.
func TestManyHandsAtOnce(t *testing.T) {
	w := newWorld(t, "ams", "fra")
	ams, fra := w.sites[0], w.sites[1]
	owners := map[int]string{}
	for i := range 100 {
		owners[i+2] = "ams"
	}
	w.set(owners)
	fds := countFiles(t)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := ams.r.Set(context.Background(), w.desired(owners)); err != nil {
					t.Error(err)
				}
				if _, err := ams.r.Status(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var hands sync.WaitGroup
	for hand := range 4 {
		hands.Go(func() {
			for i := hand; i < 24; i += 4 {
				if err := carry(ams, fra, i+2); err != nil {
					t.Errorf("pod %d: %v", i+2, err)
				}
			}
		})
	}
	hands.Wait()
	cancel()
	wg.Wait()
	w.set()
	require.LessOrEqual(t, countFiles(t), fds, "file descriptors")
	status, err := ams.r.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, status.Pods)
	require.Zero(t, status.SentOn)
}

func carry(from, to *site, i int) error {
	ctx := context.Background()
	if _, err := from.r.PreparePod(ctx, uidOf(i), podAddr(i), i%2 == 0); err != nil {
		return err
	}
	cut, err := from.r.Cutover(uidOf(i), to.name)
	if err != nil {
		return err
	}
	for name, step := range map[string]func() error{
		"hold": func() error { return from.r.Hold(uidOf(i)) }, "release": func() error { return from.r.Release(uidOf(i)) },
		"divert": cut.Divert, "undivert": cut.Undivert, "shut": cut.ShutEgress, "open": cut.OpenEgress, "close": cut.Close,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return from.r.RemovePod(ctx, uidOf(i))
}

func countFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}
