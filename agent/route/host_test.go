//go:build root

package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

var testCIDR = netip.MustParsePrefix("10.88.0.0/16")

// place is a network namespace with a netlink handle.
type place struct {
	t  testing.TB
	ns netns.NsHandle
	nl *netlink.Handle
}

func newPlace(t testing.TB, dir, name string) *place {
	t.Helper()
	require.NoError(t, makeNamespace(dir, name))
	t.Cleanup(func() { require.NoError(t, removeNamespace(filepath.Join(dir, name))) })
	return openPlace(t, filepath.Join(dir, name))
}

func openPlace(t testing.TB, path string) *place {
	t.Helper()
	ns, err := openNamespace(path)
	require.NoError(t, err)
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	require.NoError(t, err)
	t.Cleanup(func() { nl.Close(); _ = ns.Close() })
	lo, err := nl.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, nl.LinkSetUp(lo))
	return &place{t, ns, nl}
}

func (p *place) inside(f func() error) { p.t.Helper(); require.NoError(p.t, inside(p.ns, f)) }

func (p *place) sysctl(path, value string) { p.t.Helper(); p.inside(sysctl{path, value}.write) }

func (p *place) route(dst string, gw string) {
	p.t.Helper()
	d := netip.MustParsePrefix(dst)
	require.NoError(p.t, p.nl.RouteReplace(&netlink.Route{Dst: prefixOf(d), Gw: net.ParseIP(gw)}))
}

// site is an emulated host: a namespace on the WAN with a Router.
type site struct {
	*place
	name   string
	cfg    Config
	r      *Router
	before string
}

// world is a WAN, a place that routes, with sites around it.
type world struct {
	t     testing.TB
	dir   string
	wan   *place
	sites []*site
}

func newWorld(t testing.TB, names ...string) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: run make test")
	}
	w := &world{t: t, dir: t.TempDir()}
	t.Cleanup(func() { _ = unix.Unmount(w.dir, unix.MNT_DETACH) })
	w.wan = newPlace(t, w.dir, "wan")
	w.wan.sysctl("ipv4/ip_forward", "1")
	for i, name := range names {
		s := &site{place: w.attach(name, i+1), name: name}
		s.cfg = Config{
			Node: name, Underlay: underlayOf(i + 1), PodCIDR: testCIDR,
			NetNS: filepath.Join(w.dir, name), NamesDir: filepath.Join(w.dir, "names-"+name),
		}
		s.before = s.dump()
		s.open()
		w.sites = append(w.sites, s)
		t.Cleanup(func() { s.teardown() })
	}
	w.set()
	return w
}

func underlayOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, byte(i), 1}) }
func podAddr(i int) netip.Addr    { return netip.AddrFrom4([4]byte{10, 88, 0, byte(i)}) }

// attach makes a place 10.77.i.1 behind the WAN.
func (w *world) attach(name string, i int) *place {
	w.t.Helper()
	p := newPlace(w.t, w.dir, name)
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name, veth.MTU, veth.PeerName, veth.PeerNamespace = "to-"+name, 1500, "wan", netlink.NsFd(int(p.ns))
	require.NoError(w.t, w.wan.nl.LinkAdd(veth))
	for _, end := range []struct {
		p    *place
		dev  string
		last byte
	}{{w.wan, veth.Name, 254}, {p, "wan", 1}} {
		link, err := end.p.nl.LinkByName(end.dev)
		require.NoError(w.t, err)
		addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(i), end.last}), 24)
		require.NoError(w.t, end.p.nl.AddrAdd(link, &netlink.Addr{IPNet: prefixOf(addr)}))
		require.NoError(w.t, end.p.nl.LinkSetUp(link))
	}
	for end, device := range map[*place]string{w.wan: veth.Name, p: "wan"} {
		link, err := end.nl.LinkByName(device)
		require.NoError(w.t, err)
		require.NoError(w.t, running(end.nl, link.Attrs().Index))
	}
	p.route("0.0.0.0/0", fmt.Sprintf("10.77.%d.254", i))
	return p
}

func (s *site) open() {
	s.t.Helper()
	var err error
	s.r, err = Open(context.Background(), s.cfg)
	require.NoError(s.t, err)
}

// teardown checks that nothing of the Router stays.
func (s *site) teardown() {
	s.t.Helper()
	require.NoError(s.t, s.r.Teardown(context.Background()))
	require.NoError(s.t, s.r.Close())
	require.Equal(s.t, s.before, s.dump(), "left behind at %s", s.name)
	names, err := os.ReadDir(s.cfg.NamesDir)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(s.t, err)
	}
	require.Empty(s.t, names)
	_ = unix.Unmount(s.cfg.NamesDir, unix.MNT_DETACH)
}

// dump is what a leak would show in: devices, rules, and routes of all tables.
func (s *site) dump() string {
	s.t.Helper()
	var b strings.Builder
	links, err := s.nl.LinkList()
	require.NoError(s.t, err)
	for _, l := range links {
		fmt.Fprintln(&b, l.Attrs().Name)
	}
	rules, err := s.nl.RuleList(netlink.FAMILY_V4)
	require.NoError(s.t, err)
	for _, rule := range rules {
		fmt.Fprintln(&b, rule.String())
	}
	all, err := s.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	require.NoError(s.t, err)
	for _, rt := range all {
		fmt.Fprintln(&b, rt.String(), rt.Table)
	}
	return b.String()
}

// desired is the mesh as all sites know it, with pods by owner: uid "p5" has address 10.88.0.5.
func (w *world) desired(owners map[int]string) Desired {
	var d Desired
	for _, s := range w.sites {
		d.Peers = append(d.Peers, Peer{s.name, s.cfg.Underlay})
	}
	for i, node := range owners {
		d.Pods = append(d.Pods, Pod{uidOf(i), podAddr(i), node})
	}
	return d
}

func uidOf(i int) string { return fmt.Sprintf("p%d", i) }

// set tells every site the owners, or the sites that are given.
func (w *world) set(owners ...map[int]string) {
	w.t.Helper()
	all := map[int]string{}
	for _, o := range owners {
		for i, node := range o {
			all[i] = node
		}
	}
	for _, s := range w.sites {
		s.set(w.desired(all))
	}
}

func (s *site) set(d Desired) {
	s.t.Helper()
	require.NoError(s.t, s.r.Set(context.Background(), d))
}

// pod prepares pod i here and returns the inside of its namespace.
func (s *site) pod(i int, hold bool) *place {
	s.t.Helper()
	path, err := s.r.PreparePod(context.Background(), uidOf(i), podAddr(i), hold)
	require.NoError(s.t, err)
	return openPlace(s.t, path)
}

func (s *site) cutover(i int, to *site) *Cutover {
	s.t.Helper()
	c, err := s.r.Cutover(uidOf(i), to.name)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// looped counts packets that died of age anywhere: none may, since no way is longer than a few hops.
func (w *world) looped() (n int) {
	w.t.Helper()
	for _, s := range w.sites {
		n += s.counter("Icmp OutTimeExcds") + s.counter("Ip InHdrErrors")
	}
	return n
}

func (s *site) remove(i int) {
	s.t.Helper()
	require.NoError(s.t, s.r.RemovePod(context.Background(), uidOf(i)))
}

// echo answers what arrives over UDP and TCP at a port, until the test ends.
func (p *place) echo(port int) {
	p.t.Helper()
	p.inside(func() error {
		udp, err := net.ListenPacket("udp4", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			return err
		}
		tcp, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			return errors.Join(err, udp.Close())
		}
		p.t.Cleanup(func() { _ = udp.Close(); _ = tcp.Close() })
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = udp.WriteTo(buf[:n], from)
			}
		}()
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = c.(*net.TCPConn).WriteTo(c)
				}()
			}
		}()
		return nil
	})
}

// dial opens a connection from a place.
func (p *place) dial(network string, to netip.Addr, port int) net.Conn {
	p.t.Helper()
	var conn net.Conn
	p.inside(func() (err error) {
		conn, err = net.DialTimeout(network, netip.AddrPortFrom(to, uint16(port)).String(), 5*time.Second)
		return err
	})
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// reaches sends a question from a place and wants it echoed; it returns the address that the asker had.
func (p *place) reaches(to netip.Addr, port int) netip.Addr {
	p.t.Helper()
	for _, network := range []string{"udp4", "tcp4"} {
		conn := p.dial(network, to, port)
		ask(p.t, conn)
		if network == "tcp4" {
			return netip.MustParseAddrPort(conn.LocalAddr().String()).Addr()
		}
	}
	panic("unreached")
}

func ask(t testing.TB, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err := conn.Write([]byte("hello"))
	require.NoError(t, err)
	buf := make([]byte, 16)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "hello", string(buf[:n]))
	require.NoError(t, conn.SetDeadline(time.Time{}))
}

// counter reads one of the kernel's counters, as "Ip InHdrErrors", in a place.
func (p *place) counter(name string) (value int) {
	p.t.Helper()
	group, field, _ := strings.Cut(name, " ")
	p.inside(func() error {
		for _, file := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"} {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			var head []string
			for line := range strings.Lines(string(data)) {
				words := strings.Fields(line)
				if words[0] != group+":" {
					continue
				}
				if head == nil {
					head = words
					continue
				}
				for i, word := range head {
					if word == field {
						_, err := fmt.Sscan(words[i], &value)
						return err
					}
				}
			}
		}
		return fmt.Errorf("no counter %s", name)
	})
	return value
}
