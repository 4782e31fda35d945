package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A seat is a server's part in Raft, from when it starts until it is closed.
type seat struct {
	node   string
	timing timing
	log    *slog.Logger

	deadAfter time.Duration // see Config
	era       uint64

	disk    *disk
	machine *machine
	raft    *raft.Raft
	streams *streams // of Raft
	follows *streams // of Follow
	roster  *roster
	regent  *regent
	held    atomic.Pointer[string] // who should leave and can't be spared, while this server leads

	ctx     context.Context // ends when close begins to tear down
	cancel  context.CancelFunc
	tasks   tasks
	futures tasks // that wait for Raft
}

// sit starts Raft on what the disk remembers. The disk is the seat's from then on, unless that fails.
func (q *Quorum) sit(d *disk) (s *seat, err error) {
	era, err := d.GetUint64([]byte(eraKey))
	if err != nil {
		return nil, err
	}
	s = &seat{
		node: q.cfg.Node, timing: q.cfg.timing, log: q.log, deadAfter: q.cfg.DeadAfter,
		disk: d, machine: newMachine(q.board), streams: q.listen(Raft), follows: q.listen(Follow), roster: newRoster(),
	}
	s.era, s.streams.era = era, era
	s.ctx, s.cancel = context.WithCancel(q.ctx)
	logger := newLogger(q.log)
	transport := raft.NewNetworkTransportWithConfig(s.timing.transport(s.streams, logger))
	s.raft, err = raft.NewRaft(s.timing.raft(s.node, logger), s.machine, d.store, d.store, d.snapshots, transport)
	if err != nil {
		s.cancel()
		s.follows.shut()
		err = errors.Join(fmt.Errorf("starting raft: %w", err), transport.Close())
		s.streams.shut()
		s.streams.wait()
		return nil, err
	}
	s.watchLeader()
	s.tasks.spawn(newFeed(s).run)
	s.tasks.spawn(s.reconcile)
	s.regent = &regent{seat: s, witness: &witness{seat: s, every: q.cfg.lease() / 60, ask: q.forward}, lease: q.cfg.lease()}
	s.tasks.spawn(s.regent.run)
	q.seat.Store(s)
	q.learn("", era)
	return s, nil
}

// close stops Raft and waits for everything that works with it.
func (s *seat) close() error {
	s.cancel()
	s.futures.close()
	s.futures.wait() // Raft never answers those that it has not answered when it is stopped
	s.tasks.close()
	stopped := s.raft.Shutdown()
	s.streams.shut() // unblocks what waits for a peer
	s.follows.shut()
	err := stopped.Error()
	s.tasks.wait()
	s.streams.wait()
	return errors.Join(err, s.disk.Close())
}

// leader returns the leader's name as far as this server knows, or "".
func (s *seat) leader() string {
	_, id := s.raft.LeaderWithID()
	return string(id)
}

func (s *seat) leads() bool { return s.raft.State() == raft.Leader }

// members are the servers of a configuration of Raft, by name.
type members struct{ voters, joining []string }

// What a member of Raft's configuration may have.
const (
	voter    = "voter"
	nonvoter = "nonvoter" // while it catches up
)

// suffrage returns what a server has, or "".
func (m members) suffrage(node string) string {
	switch {
	case slices.Contains(m.voters, node):
		return voter
	case slices.Contains(m.joining, node):
		return nonvoter
	}
	return ""
}

// members are those of the configuration that this server knows, committed or not.
func (s *seat) members() members {
	var m members
	future := s.raft.GetConfiguration()
	if future.Error() != nil {
		return m
	}
	for _, server := range future.Configuration().Servers {
		if server.Suffrage == raft.Voter {
			m.voters = append(m.voters, string(server.ID))
		} else {
			m.joining = append(m.joining, string(server.ID))
		}
	}
	slices.Sort(m.voters)
	slices.Sort(m.joining)
	return m
}

// handOver saves the mesh the time that an election takes. Raft gives up after its election time-out.
func (s *seat) handOver() {
	if !s.leads() || len(s.members().voters) == 1 {
		return
	}
	if err := s.raft.LeadershipTransfer().Error(); err != nil {
		s.log.Info("closing without having handed leadership over", "error", err)
	}
}

// watchLeader tells of every change of leader.
func (s *seat) watchLeader() {
	changes := make(chan raft.Observation, 8)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	s.raft.RegisterObserver(observer)
	s.tasks.spawn(func() {
		defer s.raft.DeregisterObserver(observer)
		for {
			select {
			case o := <-changes:
				if leader := string(o.Data.(raft.LeaderObservation).LeaderID); leader != "" {
					s.log.Info("the quorum has a leader", "leader", leader)
				} else {
					s.log.Warn("the quorum has no leader", "cause", "this node has not heard one in time")
				}
				s.machine.board.stir() // those who follow want to know
			case <-s.ctx.Done():
				return
			}
		}
	})
}

// await waits for one of Raft's futures. A future outlives ctx by the leader's lease at most, in which Raft
// either commits or notices that it no longer leads.
func (s *seat) await(ctx context.Context, future raft.Future) error {
	done := make(chan error, 1)
	if !s.futures.spawn(func() { done <- future.Error() }) {
		return errClosed
	}
	select {
	case err := <-done:
		if refusedByRaft(err) {
			return notProposed(err)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// barrier returns when the machine of this server, which leads, has all that was committed before.
func (s *seat) barrier(ctx context.Context) error { return s.await(ctx, s.raft.Barrier(s.timing.rpc)) }

// refusedByRaft knows the errors with which Raft refuses an entry before it is written. With any other, as
// ErrLeadershipLost or a full disk, the entry may be in somebody's log.
func refusedByRaft(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrEnqueueTimeout) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress)
}
