package wan

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sort"
	"sync"
	"time"
)

// maxPacket bounds a packet; TUN devices of sites must not have a larger MTU.
const maxPacket = 2048

// Site is one end of the network: packets to its prefixes leave through its device.
type Site struct {
	Name     string
	Prefixes []netip.Prefix
	// Device carries one IP packet a Read and Write: a TUN device without packet information.
	// The router owns it and closes it.
	Device io.ReadWriteCloser
}

// Config says how a router starts.
type Config struct {
	Conditions Conditions // of every link
	Seed       uint64     // of all random decisions
	Log        *slog.Logger
}

// Router carries packets between its sites.
type Router struct {
	log     *slog.Logger
	started time.Time
	ports   []*port
	byName  map[string]*port
	routes  []route // longest prefix first
	buffers sync.Pool
	readers sync.WaitGroup
	closing chan struct{}
	once    sync.Once
}

type route struct {
	prefix netip.Prefix
	port   *port
}

// NewRouter starts carrying packets between the sites. The caller must Close it.
func NewRouter(cfg Config, sites []Site) (*Router, error) {
	if err := cfg.Conditions.Validate(); err != nil {
		return nil, err
	}
	r := &Router{
		log:     cfg.Log,
		started: time.Now(),
		byName:  make(map[string]*port),
		closing: make(chan struct{}),
	}
	r.buffers.New = func() any { return new(packet) }
	for i, site := range sites {
		if r.byName[site.Name] != nil {
			return nil, fmt.Errorf("site %q is given twice", site.Name)
		}
		p, err := newPort(r, i, site)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.ports = append(r.ports, p)
		r.byName[site.Name] = p
		for _, prefix := range site.Prefixes {
			r.routes = append(r.routes, route{prefix.Masked(), p})
		}
	}
	sort.SliceStable(r.routes, func(i, j int) bool {
		return r.routes[i].prefix.Bits() > r.routes[j].prefix.Bits()
	})
	for _, to := range r.ports {
		for _, from := range r.ports {
			to.inbound = append(to.inbound, newLane(cfg, from.site.Name, to.site.Name))
		}
	}
	for _, p := range r.ports {
		r.readers.Go(p.read)
		p.start()
	}
	return r, nil
}

// newLane seeds each direction by the names of its ends, so that adding a site changes no other.
func newLane(cfg Config, from, to string) *lane {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s>%s", from, to)
	return &lane{from: from, link: NewLink(cfg.Conditions, cfg.Seed, h.Sum64())}
}

// now is the router's clock: monotonic, from its start.
func (r *Router) now() time.Duration { return time.Since(r.started) }

// lookup finds the port of a destination, or nil.
func (r *Router) lookup(dst netip.Addr) *port {
	for i := range r.routes {
		if r.routes[i].prefix.Contains(dst) {
			return r.routes[i].port
		}
	}
	return nil
}

// lane finds the direction between two sites and the port that serves it.
func (r *Router) lane(from, to string) (*port, *lane, error) {
	for _, name := range []string{from, to} {
		if r.byName[name] == nil {
			return nil, nil, fmt.Errorf("no site %q on the WAN: want one of %v", name, r.names())
		}
	}
	if from == to {
		return nil, nil, fmt.Errorf("site %q has no link to itself", from)
	}
	p := r.byName[to]
	return p, p.inbound[r.byName[from].index], nil
}

func (r *Router) names() []string {
	names := make([]string, len(r.ports))
	for i, p := range r.ports {
		names[i] = p.site.Name
	}
	return names
}

// Change alters the direction from one site to another.
func (r *Router) Change(from, to string, change Change) error {
	p, lane, err := r.lane(from, to)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := change.Apply(lane.link.Conditions())
	if err := c.Validate(); err != nil {
		return fmt.Errorf("link %s to %s: %w", from, to, err)
	}
	lane.link.SetConditions(r.now(), c)
	if c.Cut {
		p.drop(lane)
	}
	return nil
}

// Links returns the state of every directed link, ordered by From and To.
func (r *Router) Links() []LinkStatus {
	var links []LinkStatus
	for _, from := range r.ports {
		for _, to := range r.ports {
			if from != to {
				links = append(links, to.status(from.index))
			}
		}
	}
	sort.Slice(links, func(i, j int) bool {
		a, b := links[i], links[j]
		return a.From < b.From || a.From == b.From && a.To < b.To
	})
	return links
}

// Close stops the router, drops what is on its way and closes the devices.
func (r *Router) Close() error {
	var err error
	r.once.Do(func() {
		close(r.closing)
		for _, p := range r.ports {
			err = errors.Join(err, p.site.Device.Close())
		}
		r.readers.Wait()
		for _, p := range r.ports {
			err = errors.Join(err, p.stop())
		}
	})
	return err
}

// closed says whether an error of a device is only the end of this router.
func (r *Router) closed(err error) bool {
	select {
	case <-r.closing:
		return true
	default:
		return errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF)
	}
}
