// Package quorum keeps the placement state of package state the same on every node of the mesh, with Raft.
//
// The servers hold Raft's log and vote: three or five nodes, spread over the sites. Every other node is plain: it
// follows a server over a stream, which gives it a snapshot and then each command, so that View and Watch are local
// everywhere, and keeps nothing on its disk. Commands may be proposed anywhere; they find the leader, through another
// node if the direct link is cut.
//
// # Servers
//
// A mesh begins with the servers that Config.Bootstrap lists, once all of them are there and none has heard of a
// mesh. From then on the leader makes Raft's configuration follow the committed state, one change at a time: nodes
// that are registered as servers (state.Node.Server) get in, first without a vote until they have caught up; those
// that were removed (state.ForgetNode), have become plain, or have not answered for long (Config.DeadAfter) get out,
// unless the mesh would lose its majority.
//
// A server that has lost its disk must not go on under its name: it would vote again where it has voted before, and
// its word that it has an entry, which commits that entry, would be void. So a server whose directory is empty runs
// no Raft. It follows another server as a plain node does, and asks the leader, who takes it out of Raft's
// configuration, if it is in there, and says when it is out. Only then does it start Raft and get in anew. A server
// that was taken out while it was away is told so by the leader, forgets its log, and begins anew likewise. What no
// protocol can tell is a directory that was set back to an older state of its own: never restore one from a backup.
package quorum

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drover-mesh/drover/state"
)

// Config says what Open needs. Raft's server IDs and addresses are the names of nodes.
type Config struct {
	// Node is this node's name.
	Node string
	// Dir holds the log, the votes and the snapshots of a server. A plain node keeps nothing there, and removes what
	// it kept as a server once it is none any more.
	Dir string
	// Server says that this node shall hold the log and vote.
	Server bool
	// Bootstrap names the servers that begin a new mesh, the same list on each of them. A mesh begins once: later,
	// and on other nodes, it only says whom to ask for the servers of the day.
	Bootstrap []Server
	// Peers names nodes that can be reached just now, any of the mesh. They are asked when no server is known that
	// answers. It may be nil.
	Peers func() []string
	// DeadAfter is for how long a server doesn't answer the leader before it loses its vote, if three others are left to
	// vote and a majority of them answers. One that comes back gets in anew, by itself. 0 is never.
	DeadAfter time.Duration
	// Dial opens a stream to another node. Listen claims those that others open to this one, until it is closed.
	Dial   func(ctx context.Context, node string, k Kind) (net.Conn, error)
	Listen func(k Kind) net.Listener
	// Forward hands data to HandleForward on another node and returns its answer. If it surely was not
	// handed over, say because no connection could be made, the error Is ErrNotProposed.
	Forward func(ctx context.Context, node string, data []byte) ([]byte, error)
	Log     *slog.Logger
	// Lease is how long the leases are that this server grants while it leads, 0 is state.DefaultLease.
	Lease time.Duration
	// Clock reads two clocks of this node, by which its leases end: one that counts suspend (CLOCK_BOOTTIME), and the time of day.
	// A node without one never holds a lease.
	Clock func() (boot time.Duration, wall time.Time)

	timing timing // zero means wan()
}

// A Server is a member of Raft's configuration.
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
	board   *board
	tenancy tenancy

	seat     atomic.Pointer[seat]     // nil as long as this node isn't in Raft
	follower atomic.Pointer[follower] // nil while this node need not follow a server
	hint     atomic.Pointer[[]string] // servers that peers have named
	waiting  atomic.Pointer[string]   // see Status.Waiting
	era      atomic.Uint64            // the latest that this node has heard of
	newEra   chan struct{}            // there is a later one

	ctx    context.Context // ends when Close begins to tear down
	cancel context.CancelFunc
	tasks  tasks
	close  sync.Once
	closed error // of Close
}

// Open begins to take part in the agreement, a server with what Dir remembers. ctx bounds only the opening.
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
	q := &Quorum{cfg: cfg, log: cfg.Log, board: &board{}, newEra: make(chan struct{}, 1)}
	q.ctx, q.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if cfg.Server {
		s, d, err := q.resume()
		if err != nil {
			q.cancel()
			return nil, fmt.Errorf("opening the quorum in %s: %w", cfg.Dir, err)
		}
		q.tasks.spawn(func() { q.closed = q.serve(s, d) })
	} else {
		q.startFollowing(newMachine(q.board))
		q.tasks.spawn(q.retire)
	}
	if cfg.Clock != nil {
		q.tasks.spawn(q.rent)
	}
	return q, nil
}

func (c Config) validate() error {
	switch {
	case c.Node == "":
		return errors.New("this node has no name")
	case len(c.Bootstrap) == 0 && c.Peers == nil:
		return errors.New("no servers are configured, and there is nobody to ask for them")
	case c.Dial == nil, c.Listen == nil, c.Forward == nil, c.Log == nil:
		return errors.New("it needs Dial, Listen, Forward and Log")
	}
	if err := state.CheckLease(c.lease()); err != nil {
		return err
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

func (c Config) lease() time.Duration { return cmp.Or(c.Lease, state.DefaultLease) }

// Close hands leadership over if this node leads, then stops and waits for everything that Open started.
// Whoever waits in Propose gets an error. The streams are closed too.
func (q *Quorum) Close() error {
	q.close.Do(func() {
		if s := q.seat.Load(); s != nil {
			s.handOver()
		}
		q.cancel()
		q.tasks.close()
		q.tasks.wait()
		if q.closed != nil {
			q.closed = fmt.Errorf("closing the quorum: %w", q.closed)
		}
	})
	return q.closed
}

// startFollowing makes this node follow a server, from where a machine has come, until stop is called or the quorum is closed.
func (q *Quorum) startFollowing(m *machine) (stop func()) {
	f := newFollower(q, m)
	ctx, cancel := context.WithCancel(q.ctx)
	q.follower.Store(f)
	q.tasks.spawn(func() { f.run(ctx) })
	return func() {
		cancel()
		q.follower.CompareAndSwap(f, nil)
	}
}
