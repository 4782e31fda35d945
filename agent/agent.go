// Package agent is a node of the mesh: it takes part in its membership and its agreement, runs the pods that it
// owns and moves them to other nodes. It only wires the parts, which are the packages below it.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/drill"
	"github.com/drover-mesh/drover/agent/fence"
	"github.com/drover-mesh/drover/agent/gossip"
	"github.com/drover-mesh/drover/agent/migrate"
	"github.com/drover-mesh/drover/agent/pod"
	"github.com/drover-mesh/drover/agent/route"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/durable"
	"github.com/drover-mesh/drover/state/quorum"
	"github.com/drover-mesh/drover/transport"
	"github.com/drover-mesh/drover/volumes"
)

// Run is the life of an agent. It ends with ctx, or with an error that no retry can mend. Pods and their network
// outlive it; moves that can still be aborted are, and others are taken up by the next agent.
func Run(ctx context.Context, config configs.Config, version string, log *slog.Logger) error {
	a := &agent{config: config, version: version, log: log, catchUp: newCatchUp()}
	defer a.close()
	if err := a.open(ctx); err != nil {
		return fmt.Errorf("starting the agent of %s: %w", config.Node, err)
	}
	return a.serve(ctx)
}

// agent holds the parts. Those that must be closed are in closers, in the order in which they were opened.
type agent struct {
	config  configs.Config
	version string
	log     *slog.Logger
	closers []func() error

	host      *host
	gossip    *gossip.Mesh
	transport *transport.Transport
	peers     *http.Client
	quorum    *quorum.Quorum
	pods      *pods
	catchUp   *catchUp

	revocations   revocations
	acquaintances *acquaintances
}

func (a *agent) onClose(f func() error) { a.closers = append(a.closers, f) }

func (a *agent) close() {
	for i := len(a.closers) - 1; i >= 0; i-- {
		if err := a.closers[i](); err != nil {
			a.log.Warn("stopping", "err", err)
		}
	}
}

// open opens what the agent works with, from the host up to the mesh.
func (a *agent) open(ctx context.Context) error {
	c := a.config
	identity, err := transport.LoadIdentity(c.Identity)
	if err != nil {
		return err
	}
	if identity.Node != c.Node {
		return fmt.Errorf("the identity in %s is that of node %s", c.Identity, identity.Node)
	}
	for _, dir := range []string{c.StateDir, c.RunDir, filepath.Join(c.StateDir, emptyDirs), filepath.Join(c.StateDir, namedVolumes), filepath.Join(c.RunDir, "moves")} {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := migrate.MakeJournals(a.journals()); err != nil {
		return err
	}
	if err := a.openHost(ctx); err != nil {
		return err
	}
	a.acquaintances = recallAcquaintances(filepath.Join(c.StateDir, "peers.json"), a.log)
	a.gossip, err = gossip.Open(ctx, gossip.Config{
		Node: c.Node, Site: c.Site, QUIC: c.Address, Version: a.version,
		Bind: c.Gossip, Join: c.Join, Known: a.acquaintances.known, Key: identity.GossipKey, Log: a.log.With("part", "gossip"),
	})
	if err != nil {
		return err
	}
	a.onClose(a.gossip.Close)
	a.transport, err = transport.Listen(transport.Config{
		Addr: c.Address, Identity: identity, Resolve: a.gossip.Addr,
		BulkRate: int64(c.BulkRate) / 8, Log: a.log.With("part", "transport"), Revoked: a.revocations.reason,
	})
	if err != nil {
		return err
	}
	a.onClose(a.transport.Close)
	a.peers = api.PeerClient(func(ctx context.Context, node string) (net.Conn, error) {
		return a.transport.Dial(ctx, node, transport.API)
	})
	return a.openQuorum(ctx)
}

func (a *agent) openHost(ctx context.Context) error {
	c := a.config
	h := &host{node: c.Node, stateDir: c.StateDir, runDir: c.RunDir, log: a.log}
	var err error
	if h.layers, err = volumes.OpenStore(filepath.Join(c.StateDir, volumesDir)); err != nil {
		return err
	}
	if h.runtime, err = pod.Open(runtimeConfig(c, a.log)); err != nil {
		return err
	}
	opened, err := route.Open(ctx, route.Config{
		Node: c.Node, Underlay: c.Address.Addr(), PodCIDR: c.PodCIDR,
		VNI: int(c.Overlay.VNI), Port: int(c.Overlay.Port), Log: a.log.With("part", "route"),
	})
	if err != nil {
		return err
	}
	h.router = newRouter(opened)
	a.onClose(opened.Close)
	a.host = h
	return nil
}

func runtimeConfig(c configs.Config, log *slog.Logger) pod.Config {
	return pod.Config{
		StateDir: filepath.Join(c.StateDir, "runtime"), RunDir: c.RunDir,
		CgroupDriver: pod.CgroupDriver(c.CgroupDriver), CgroupParent: c.CgroupParent, Log: log.With("part", "pod"),
	}
}

func (a *agent) openQuorum(ctx context.Context) error {
	servers, err := founders(a.config)
	if err != nil {
		return err
	}
	a.quorum, err = quorum.Open(ctx, quorum.Config{
		Node: a.config.Node, Dir: filepath.Join(a.config.StateDir, "raft"),
		Server: a.config.Role == configs.Server, Bootstrap: servers, Peers: a.peersAlive,
		DeadAfter: time.Duration(a.config.DeadServerAfter), Lease: time.Duration(a.config.Lease), Clock: bothClocks,
		Dial: quorumStreams{a.transport}.dial, Listen: quorumStreams{a.transport}.listen,
		Forward: forwarder{a.peers}.forward, Log: a.log.With("part", "quorum"),
	})
	if err != nil {
		return err
	}
	a.onClose(a.quorum.Close)
	return nil
}

// bothClocks are those by which the leases of this node end, in its agent and in its fence.
func bothClocks() (boot time.Duration, wall time.Time) {
	now := fence.Now()
	return now.Boot, time.Unix(0, now.Wall)
}

func (a *agent) journals() string { return filepath.Join(a.config.StateDir, "moves") }

// fence readies what this node's pods with a failover policy run under, and takes over what an earlier agent had of it.
func (a *agent) fence(ctx context.Context) error {
	program, err := fenceProgram()
	if err != nil {
		return err
	}
	a.host.fenced = newFenced(a.host, a.quorum, a.version, program)
	if err := a.host.fenced.resume(ctx); err != nil { // it is tried again, and pods without a policy need no fence
		a.log.Error("taking over the fence of an earlier agent", "err", err)
	}
	return nil
}

// serve runs until ctx ends. Everything that it starts has ended when it returns.
func (a *agent) serve(ctx context.Context) error {
	drills, err := drill.Open(a.config.Drill, a.log)
	if err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	defer end()
	if err := a.fence(life); err != nil {
		return err
	}
	config := migrate.Config{
		Node: a.config.Node, Journals: a.journals(), Ledger: a.quorum, Leases: leasing{a.quorum}, Log: a.log.With("part", "migrate"), Reach: drills.Reach,
	}
	peers := meshPeers{node: a.config.Node, gossip: a.gossip, transport: a.transport, peers: a.peers}
	images := newImages(a.config.Node, a.host.layers, peers, a.config.Registries, a.log.With("part", "images"))
	a.pods = &pods{host: a.host, images: images, ledger: a.quorum, backOffs: backOffs{}, busy: map[string]bool{}}
	a.pods.probes = newProbes(a.pods)
	arrivals := migrate.NewArrivals(life, config, destination{a.host})
	defer arrivals.Close()
	a.host.fenced.arriving = arrivals.Held
	defer end()
	if err := arrivals.Recover(); err != nil { // their pods stay as they are; the others must not
		a.log.Error("reading the journals of moves", "err", err)
	}
	m := &moves{life: life, config: config, pods: a.pods, transport: a.transport, running: map[string]*move{}}
	defer m.jobs.Wait()
	defer end()
	b := &backend{
		config: a.config, version: a.version, started: time.Now(), pods: a.pods, images: images, moves: m,
		gossip: a.gossip, quorum: a.quorum, catchUp: a.catchUp, transport: a.transport, peers: a.peers,
	}
	handler := api.NewHandler(b, api.HandlerConfig{Node: a.config.Node, Peers: a.peers, Log: a.log.With("part", "api")})
	socket, err := api.ListenUnix(a.config.Socket)
	if err != nil {
		return err
	}
	mesh := http.NewServeMux()
	mesh.Handle("/", handler)
	mesh.Handle("POST "+forwardPath, serveForwards(a.quorum))

	g, life := errgroup.WithContext(life)
	g.Go(func() error { return api.Serve(life, socket, handler, a.log) })
	g.Go(func() error { return api.Serve(life, a.transport.Listener(transport.API), mesh, a.log) })
	calls := moveServer{arrivals: arrivals, layers: a.host.layers, log: a.log.With("part", "migrate")}
	g.Go(func() error { return calls.serve(life, a.transport.Listener(transport.Move)) })
	g.Go(func() error { return calls.serve(life, a.transport.Listener(transport.Bulk)) })
	g.Go(func() error { a.enrol(life); return nil })
	g.Go(func() error { drills.Tell(life); return nil })
	g.Go(func() error { a.host.fenced.keep(life); return nil })
	g.Go(func() error { a.join(life, config, arrivals.Held); return nil })
	lost := &failovers{leader: a.quorum, ready: b.ready, log: a.log.With("part", "failover")}
	g.Go(func() error { lost.keep(life); return nil })
	g.Go(func() error { a.pods.keepProviding(life, b.ready); return nil })
	a.notify(daemon.SdNotifyReady)
	a.log.Info("the agent is ready", "node", a.config.Node, "site", a.config.Site, "version", a.version, "socket", a.config.Socket)
	err = g.Wait()
	a.notify(daemon.SdNotifyStopping)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *agent) notify(what string) {
	if _, err := daemon.SdNotify(false, what); err != nil {
		a.log.Warn("telling systemd", "err", err)
	}
}
