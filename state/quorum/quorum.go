// Package quorum keeps the placement state of package state the same on every node of the mesh, with Raft.
//
// The servers vote: three or five nodes, spread over the sites. Every other node learns: it follows the same
// log without a vote, so that View and Watch are local everywhere. Commands may be proposed anywhere; they
// find the leader, through another server if the direct link is cut.
package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/drover-mesh/drover/state"
)

// Config says what Open needs. Raft's server IDs and addresses are the names of nodes.
type Config struct {
	// Node is this node's name.
	Node string
	// Dir holds the log, the votes and the snapshots. It must survive a restart: a server that forgets its
	// vote can make two leaders.
	Dir string
	// Bootstrap names the servers that vote in a new mesh: the same list on every node. A node that isn't
	// in it is a learner.
	Bootstrap []Server
	// Stream dials other nodes by name and accepts from them. Close closes it.
	Stream raft.StreamLayer
	// Forward hands data to HandleForward on another node and returns its answer. If it surely was not
	// handed over, say because no connection could be made, the error Is ErrNotProposed.
	Forward func(ctx context.Context, node string, data []byte) ([]byte, error)
	Log     *slog.Logger

	timing timing // zero means wan()
}

// A Server is a voting member.
type Server struct {
	Name string
}

// ErrNotProposed is in the chain of an error of Propose if the command surely never entered a log.
var ErrNotProposed = errors.New("the command was not proposed")

var errClosed = errors.New("the quorum is closed")

// A Quorum is one node's part in the agreement. Its methods may be called concurrently.
type Quorum struct {
	cfg     Config
	log     *slog.Logger
	machine *machine
	streams *streams
	raft    *raft.Raft
	store   *store

	ctx    context.Context // ends when Close begins to tear down
	cancel context.CancelFunc
	close  sync.Once
	closed error // of Close

	mu      sync.Mutex
	closing bool
	tasks   sync.WaitGroup // see spawn
}

// Snapshots that are kept.
const snapshots = 2

// Open joins the agreement with what Dir remembers, or starts it: a server without any state bootstraps the
// configured one, which is harmless because every server starts with the same. ctx bounds only the opening.
//
// After Open the View may be behind, even empty, until the leader has been heard: call Sync before acting on
// what is not in it.
func Open(ctx context.Context, cfg Config) (*Quorum, error) {
	if cfg.timing == (timing{}) {
		cfg.timing = wan()
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("opening the quorum: %w", err)
	}
	q := &Quorum{
		cfg:     cfg,
		log:     cfg.Log,
		machine: newMachine(),
		streams: newStreams(cfg.Stream, cfg.Node),
	}
	q.ctx, q.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := q.start(); err != nil {
		q.cancel()
		q.streams.shut()
		return nil, fmt.Errorf("opening the quorum in %s: %w", cfg.Dir, err)
	}
	q.watchLeader()
	if !q.voter() {
		q.spawn(q.learn)
	}
	return q, nil
}

func (c Config) validate() error {
	switch {
	case c.Node == "":
		return errors.New("this node has no name")
	case len(c.Bootstrap) == 0:
		return errors.New("no servers are configured")
	case c.Stream == nil, c.Forward == nil, c.Log == nil:
		return errors.New("it needs Stream, Forward and Log")
	}
	seen := map[string]bool{}
	for _, s := range c.Bootstrap {
		if s.Name == "" || seen[s.Name] {
			return fmt.Errorf("server %q is listed twice, or has no name", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

func (q *Quorum) voter() bool {
	return slices.Contains(q.cfg.Bootstrap, Server{q.cfg.Node})
}

// start opens the stores and starts Raft on them.
func (q *Quorum) start() (err error) {
	logs := filepath.Join(q.cfg.Dir, "log")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	logger := newLogger(q.log)
	store, err := openLog(logs, logger)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	snaps, err := raft.NewFileSnapshotStoreWithLogger(q.cfg.Dir, snapshots, logger)
	if err != nil {
		return fmt.Errorf("opening the snapshots: %w", err)
	}
	transport := raft.NewNetworkTransportWithConfig(q.cfg.timing.transport(q.streams, logger))
	defer func() {
		if err != nil {
			err = errors.Join(err, transport.Close())
		}
	}()
	conf := q.cfg.timing.raft(q.cfg.Node, logger)
	if err := q.bootstrap(conf, store, snaps, transport); err != nil {
		return err
	}
	q.raft, err = raft.NewRaft(conf, q.machine, store, store, snaps, transport)
	if err != nil {
		return fmt.Errorf("starting raft: %w", err)
	}
	q.store = store
	return nil
}

// bootstrap writes the first configuration if this server has none.
func (q *Quorum) bootstrap(conf *raft.Config, store *store, snaps raft.SnapshotStore, t raft.Transport) error {
	known, err := raft.HasExistingState(store, store, snaps)
	if err != nil {
		return fmt.Errorf("looking for existing state: %w", err)
	}
	if known || !q.voter() {
		return nil
	}
	var servers raft.Configuration
	for _, s := range q.cfg.Bootstrap {
		servers.Servers = append(servers.Servers, raft.Server{
			ID: raft.ServerID(s.Name), Address: raft.ServerAddress(s.Name), Suffrage: raft.Voter,
		})
	}
	if err := raft.BootstrapCluster(conf, store, store, snaps, t, servers); err != nil {
		return fmt.Errorf("writing the first configuration: %w", err)
	}
	return nil
}

// View returns the state as far as this node has heard.
func (q *Quorum) View() state.View { return q.machine.view() }

// Close hands leadership over if this node leads, then stops and waits for everything that Open started.
// Whoever waits in Propose gets an error. The streams are closed too.
func (q *Quorum) Close() error {
	q.close.Do(func() {
		q.handOver()
		q.cancel()
		q.mu.Lock()
		q.closing = true
		q.mu.Unlock()
		stopped := q.raft.Shutdown()
		q.streams.shut() // unblocks what waits for a peer
		q.closed = stopped.Error()
		q.tasks.Wait()
		q.streams.wait()
		q.closed = errors.Join(q.closed, q.store.Close())
		if q.closed != nil {
			q.closed = fmt.Errorf("closing the quorum: %w", q.closed)
		}
	})
	return q.closed
}

// spawn runs a task that Close waits for, or returns false because Close has begun.
func (q *Quorum) spawn(task func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closing {
		q.tasks.Go(task)
	}
	return !q.closing
}

// handOver saves the mesh the time that an election takes. Raft gives up after its election time-out.
func (q *Quorum) handOver() {
	if q.raft.State() != raft.Leader || len(q.cfg.Bootstrap) == 1 {
		return
	}
	if err := q.raft.LeadershipTransfer().Error(); err != nil {
		q.log.Info("closing without having handed leadership over", "error", err)
	}
}
