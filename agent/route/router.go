package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Errors that callers may want to tell apart.
var (
	// ErrNoPod says that no pod of that uid stands at this host.
	ErrNoPod = errors.New("no such pod at this host")
	// ErrForeign says that something of that name exists and is not drover's.
	ErrForeign = errors.New("exists and is not drover's")
)

// Config says where a Router works.
type Config struct {
	Node     string       // name of this node
	Underlay netip.Addr   // IPv4 address of this host that its peers reach; tunnels start and end there
	PodCIDR  netip.Prefix // IPv4; all pod addresses of the mesh
	VNI      int          // VXLAN network identifier; 0 means DefaultVNI
	Port     int          // UDP port of the overlay; 0 means DefaultPort
	NetNS    string       // path of the host's network namespace; "" means that of the thread that calls Open
	NamesDir string       // where pods' namespaces are bound; "" means /run/netns, where `ip netns` looks. Nobody else may use names with "drover-" there.
	Log      *slog.Logger // nil discards
}

func (c *Config) complete() error {
	switch {
	case c.Node == "":
		return errors.New("route: no node name")
	case !c.Underlay.Is4():
		return fmt.Errorf("route: underlay address %v: need an IPv4 address of this host", c.Underlay)
	case !c.PodCIDR.Addr().Is4() || c.PodCIDR.Masked() != c.PodCIDR:
		return fmt.Errorf("route: pod CIDR %v: need an IPv4 network without host bits", c.PodCIDR)
	case c.PodCIDR.Contains(c.Underlay):
		return fmt.Errorf("route: underlay address %v lies in the pod CIDR %v: choose another pod CIDR", c.Underlay, c.PodCIDR)
	case c.VNI < 0 || c.VNI >= 1<<24:
		return fmt.Errorf("route: VNI %d: need 1 to %d", c.VNI, 1<<24-1)
	case c.Port < 0 || c.Port > 0xffff:
		return fmt.Errorf("route: UDP port %d: need 1 to 65535", c.Port)
	}
	c.defaults()
	return nil
}

func (c *Config) defaults() {
	if c.VNI == 0 {
		c.VNI = DefaultVNI
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.NamesDir == "" {
		c.NamesDir = "/run/netns"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Router programs one host. Its methods may be called concurrently.
type Router struct {
	cfg  Config
	ns   netns.NsHandle
	host *netlink.Handle // in ns

	setting sync.Mutex // held by a Set
	making  sync.Mutex // held while a pod's devices are made or removed
	closed  bool       // guarded by setting and making together

	// mu guards the state below, and is held while the routes of one pod are written (some 0.1 ms), so that they always
	// follow from the state.
	mu      sync.Mutex
	desired index                // of the last Set
	overlay int                  // index of the overlay device, 0 before the first Set
	mtu     int                  // of the overlay and of every pod's devices
	pods    map[string]*endpoint // what stands here, by uid
	at      map[netip.Addr]*endpoint
	sentOn  map[netip.Addr]netip.Addr // where pods that left by a Divert went: what comes for them is sent on
}

// Open readies a Router for the host and reads back from the kernel what an earlier one left; it programs no route yet. It sets
// net.ipv4.ip_forward to 1, and net.ipv4.conf.all.rp_filter, if it is strict (1), to loose (2): the strict check drops
// packets of a pod on the move. The caller closes it.
func Open(ctx context.Context, cfg Config) (*Router, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r := newRouter(cfg)
	if err := r.enter(); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{r.forwarding, r.adopt} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

func newRouter(cfg Config) *Router {
	return &Router{cfg: cfg, pods: map[string]*endpoint{}, at: map[netip.Addr]*endpoint{}, sentOn: map[netip.Addr]netip.Addr{}}
}

func (r *Router) enter() (err error) {
	if r.cfg.NetNS == "" {
		r.ns, err = netns.Get()
	} else {
		r.ns, err = netns.GetFromPath(r.cfg.NetNS)
	}
	if err != nil {
		return fmt.Errorf("opening the host's network namespace: %w", err)
	}
	if r.host, err = netlink.NewHandleAt(r.ns, unix.NETLINK_ROUTE); err != nil {
		return errors.Join(fmt.Errorf("opening netlink: %w", err), r.ns.Close())
	}
	return nil
}

// forwarding sets the two switches of the whole host. They are left so by Teardown: others may rely on them by then.
func (r *Router) forwarding(context.Context) error {
	return inside(r.ns, func() error {
		const strict = "/proc/sys/net/ipv4/conf/all/rp_filter"
		if value, err := os.ReadFile(strict); err == nil && strings.TrimSpace(string(value)) == "1" {
			r.cfg.Log.Warn("the strict reverse path filter would drop packets of moving pods: setting it to loose", "sysctl", "net.ipv4.conf.all.rp_filter=2")
			if err := (sysctl{"ipv4/conf/all/rp_filter", "2"}).write(); err != nil {
				return err
			}
		}
		return sysctl{"ipv4/ip_forward", "1"}.write()
	})
}

// Close releases what the Router holds in this process. The data plane stays, and goes on forwarding.
func (r *Router) Close() error {
	r.setting.Lock()
	defer r.setting.Unlock()
	r.making.Lock()
	defer r.making.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.mu.Lock()
	pods := r.pods
	r.pods = map[string]*endpoint{}
	r.mu.Unlock()
	var errs []error
	for _, ep := range pods {
		errs = append(errs, ep.use(ep.close))
	}
	r.host.Close()
	return errors.Join(append(errs, r.ns.Close())...)
}

// Teardown takes away all that this package ever puts into the host: pods' devices and namespaces (their traffic stops at
// once, and no RST or FIN leaves), routes, rules, and the overlay device. The two switches that Open turned stay.
func (r *Router) Teardown(ctx context.Context) error {
	r.setting.Lock()
	defer r.setting.Unlock()
	if r.closed {
		return errors.New("tearing routes down: the router is closed")
	}
	r.mu.Lock()
	for _, ep := range r.pods {
		ep.diverted = netip.Addr{} // nothing is sent on any more
	}
	r.mu.Unlock()
	var errs []error
	for _, ep := range r.endpoints() {
		errs = append(errs, r.RemovePod(ctx, ep.uid))
	}
	errs = append(errs, r.removeHalves())
	r.mu.Lock()
	r.desired, r.overlay, r.mtu, r.sentOn = index{}, 0, 0, map[netip.Addr]netip.Addr{}
	r.mu.Unlock()
	errs = append(errs, r.removeRules(), r.removeRoutes(), r.removeOverlay())
	return errors.Join(errs...)
}

// removeHalves removes devices without a namespace and names without a device, left by an agent that was killed.
func (r *Router) removeHalves() error {
	links, err := r.host.LinkList()
	errs := []error{err}
	for _, link := range links {
		if rec, ok := parseRecord(link.Attrs().Alias); ok && link.Attrs().Name == vethName(rec.uid) && isHostDevice(link) {
			errs = append(errs, wrap(r.host.LinkDel(link), "removing device %s", link.Attrs().Name))
		}
	}
	names, err := filepath.Glob(filepath.Join(r.cfg.NamesDir, namePrefix+"*"))
	errs = append(errs, err)
	for _, path := range names {
		errs = append(errs, removeNamespace(path))
	}
	return errors.Join(errs...)
}

func (r *Router) endpoints() []*endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*endpoint, 0, len(r.pods))
	for _, ep := range r.pods {
		all = append(all, ep)
	}
	return all
}

// endpoint finds the pod that stands here.
func (r *Router) endpoint(uid string) (*endpoint, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ep := r.pods[uid]; ep != nil {
		return ep, nil
	}
	return nil, fmt.Errorf("pod %s: %w", uid, ErrNoPod)
}

var uidPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func checkPod(uid string, addr netip.Addr, cidr netip.Prefix) error {
	if !uidPattern.MatchString(uid) {
		return fmt.Errorf("pod uid %q: need 1 to 63 letters, digits, '.', '_' or '-'", uid)
	}
	if !cidr.Contains(addr) {
		return fmt.Errorf("pod %s: address %v is not in the pod CIDR %v", uid, addr, cidr)
	}
	return nil
}
