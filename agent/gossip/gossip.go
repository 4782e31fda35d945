// Package gossip finds the other nodes of the mesh and tells who is there, where its QUIC listens and who is gone. It
// is memberlist (SWIM with hashicorp's extensions), encrypted and tuned for links between sites.
package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// KeySize is the size of a gossip key in bytes: AES-256.
const KeySize = 32

// Config says who this node is and how it finds others.
type Config struct {
	Node    string         // unique in the mesh
	Site    string         // where it stands
	QUIC    netip.AddrPort // where peers reach its QUIC
	Version string         // of the agent; may be empty

	Bind netip.AddrPort   // UDP and TCP; peers reach it there too. Port 0 takes any
	Join []netip.AddrPort // gossip addresses of any peers; its own may be among them
	Key  []byte           // KeySize bytes, the same on each node
	// Known returns further addresses, those of the nodes of the day; it may be nil.
	Known func() []netip.AddrPort
	Log   *slog.Logger

	tune func(*memberlist.Config) // shorter times in tests
}

// State says how a member fares.
type State string

// The states of a member. A member that failed to answer for some seconds, and wasn't vouched for, is Dead.
const (
	Alive State = "alive"
	Dead  State = "dead"
	Left  State = "left" // it said so
)

// Member is a node of the mesh, as it describes itself.
type Member struct {
	Node    string
	Site    string
	Addr    netip.AddrPort // QUIC
	Gossip  netip.AddrPort
	Version string
	State   State
}

// Mesh is this node's membership. All methods may be called concurrently.
type Mesh struct {
	config   Config
	log      *slog.Logger
	complain *complaints
	list     *memberlist.Memberlist
	stop     context.CancelFunc // ends dials and joining
	joined   sync.WaitGroup     // the goroutine that joins

	mu       sync.Mutex
	members  map[string]Member
	leaving  map[string]bool // said that they leave
	watchers map[chan struct{}]bool
}

// Open joins the mesh and returns at once: peers are looked for in the background until some are found, and again
// whenever peers were lost. When ctx ends that stops; Close is still needed.
func Open(ctx context.Context, config Config) (*Mesh, error) {
	if len(config.Key) != KeySize {
		return nil, fmt.Errorf("the gossip key has %d bytes, not %d", len(config.Key), KeySize)
	}
	meta, err := encodeMeta(metadata{Site: config.Site, QUIC: config.QUIC, Version: config.Version})
	if err != nil {
		return nil, fmt.Errorf("describing node %s: %w", config.Node, err)
	}
	ctx, stop := context.WithCancel(ctx)
	m := &Mesh{
		config:   config,
		log:      config.Log,
		complain: newComplaints(config.Log),
		stop:     stop,
		members:  make(map[string]Member),
		leaving:  make(map[string]bool),
		watchers: make(map[chan struct{}]bool),
	}
	if err := m.listen(ctx, meta); err != nil {
		stop()
		return nil, fmt.Errorf("gossiping on %s: %w", config.Bind, err)
	}
	m.joined.Go(func() { m.keepJoined(ctx) })
	return m, nil
}

func (m *Mesh) listen(ctx context.Context, meta []byte) error {
	logger := log.New(&logWriter{log: m.log, complain: m.complain}, "", 0)
	net, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{m.config.Bind.Addr().String()},
		BindPort:  int(m.config.Bind.Port()),
		Logger:    logger,
	})
	if err != nil {
		return err
	}
	c := memberlist.DefaultWANConfig()
	c.Name = m.config.Node
	c.BindAddr = m.config.Bind.Addr().String()
	c.BindPort = net.GetAutoBindPort()
	c.AdvertiseAddr, c.AdvertisePort = c.BindAddr, c.BindPort
	c.SecretKey = m.config.Key
	c.Logger = logger
	c.Transport = &transport{NetTransport: net, ctx: ctx}
	c.Delegate = &delegate{mesh: m, meta: meta}
	c.Events, c.Conflict, c.Alive = (*events)(m), (*events)(m), (*events)(m)
	// A mesh has tens of nodes, not thousands: probing twice as often as memberlist's WAN default costs little, and a
	// dead node is found in about 15 s. A probe may still take 2 s, which is a slow satellite link and a loss.
	c.ProbeInterval, c.ProbeTimeout = 2500*time.Millisecond, 2*time.Second
	c.TCPTimeout = 10 * time.Second
	c.DeadNodeReclaimTime = 30 * time.Second // a host may come back with another address
	if m.config.tune != nil {
		m.config.tune(c)
	}
	if m.list, err = memberlist.Create(c); err != nil {
		return errors.Join(err, net.Shutdown())
	}
	return nil
}

// Bind returns the address where this node gossips.
func (m *Mesh) Bind() netip.AddrPort {
	return addrPort(m.list.LocalNode())
}

// Members returns all nodes heard of since Open, also those gone, sorted by name. This node is among them.
func (m *Mesh) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.members), func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
}

// Addr returns where the QUIC of a node listens. A dead node has its last address: it may be only gossip that is cut.
func (m *Mesh) Addr(node string) (netip.AddrPort, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	member, ok := m.members[node]
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("the address of node %s is not known: gossip hasn't heard of it", node)
	}
	return member.Addr, nil
}

// Watch returns a channel that says "something changed" after any change of Members, the first time at once. Changes
// that the receiver is late for are one. It is closed when ctx ends.
func (m *Mesh) Watch(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	c <- struct{}{}
	m.mu.Lock()
	m.watchers[c] = true
	m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
		close(c)
	})
	return c
}

// changed wakes the watchers. The caller holds m.mu.
func (m *Mesh) changed() {
	for c := range m.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// leavePatience is how long Close waits for its word of leaving to get out.
const leavePatience = 2 * time.Second

// Close tells the others that this node leaves, and stops. It takes at most about two such patiences.
func (m *Mesh) Close() error {
	m.stop()
	m.joined.Wait()
	m.sayLeaving()
	var errs error
	if err := m.list.Leave(leavePatience); err != nil {
		m.log.Info("left the mesh without being heard: the others will find out", "error", err)
	}
	if err := m.list.Shutdown(); err != nil {
		errs = fmt.Errorf("stopping gossip: %w", err)
	}
	return errs
}
