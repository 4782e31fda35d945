package quorum

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// reconcile makes Raft's configuration follow the committed state as long as this server leads, one step at a time.
func (s *seat) reconcile() {
	defer s.watchHeartbeats()()
	changed := s.machine.board.watch(s.ctx)
	tick := time.NewTicker(s.timing.heartbeat)
	defer tick.Stop()
	var leads time.Time // since when
	for {
		select {
		case <-changed:
		case <-s.roster.news:
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		switch {
		case !s.leads():
			leads = time.Time{}
			s.held.Store(nil)
			continue
		case leads.IsZero():
			s.roster.lead()
			if s.barrier(s.ctx) != nil { // else the state may be of before this server led
				continue
			}
			leads = time.Now()
		}
		for s.ctx.Err() == nil {
			a := s.roster.agenda(s.node, s.machine.view(), s.members(), terms{s.timing.intent(), s.timing.settle(), s.deadAfter})
			if time.Since(leads) < s.timing.settle() { // nobody who must go goes before it is known who answers
				a.out, a.dead = nil, nil
			}
			next, held := a.next()
			if before := s.held.Swap(&held); held != "" && (before == nil || *before != held) {
				s.log.Warn("a server can't be spared", "cause", held)
			}
			if next.do == "" || !s.take(next) {
				break
			}
		}
	}
}

// take takes a step and returns whether it succeeded.
func (s *seat) take(n step) bool {
	id, address := raft.ServerID(n.node), raft.ServerAddress(n.node)
	var future raft.Future
	switch n.do {
	case add:
		future = s.raft.AddNonvoter(id, address, 0, s.timing.rpc)
	case promote:
		future = s.raft.AddVoter(id, address, 0, s.timing.rpc)
	case remove:
		future = s.raft.RemoveServer(id, 0, s.timing.rpc)
	case yield:
		future = s.raft.LeadershipTransfer()
	}
	if err := s.await(s.ctx, future); err != nil {
		s.log.Warn("changing the servers", "change", n.do, "server", n.node, "cause", n.why, "error", err)
		return false
	}
	s.log.Info("the servers were changed", "change", n.do, "server", n.node, "cause", n.why)
	return n.do != yield
}

// watchHeartbeats notes who answers this server while it leads.
func (s *seat) watchHeartbeats() (stop func()) {
	beats := make(chan raft.Observation, 64)
	observer := raft.NewObserver(beats, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation:
			return true
		}
		return false
	})
	s.raft.RegisterObserver(observer)
	s.tasks.spawn(func() {
		for {
			select {
			case o := <-beats:
				switch b := o.Data.(type) {
				case raft.FailedHeartbeatObservation:
					s.roster.answers(string(b.PeerID), false)
				case raft.ResumedHeartbeatObservation:
					s.roster.answers(string(b.PeerID), true)
				}
			case <-s.ctx.Done():
				return
			}
		}
	})
	return func() { s.raft.DeregisterObserver(observer) }
}

// join answers a server that wants a vote, and notes that it does.
func (s *seat) join(ctx context.Context, j joining) (answer, error) {
	a, err := s.member(ctx, j.Node)
	switch {
	case err != nil:
	case j.Blank:
		if a.Member != "" {
			s.roster.hear(j.Node, restart)
		}
	case j.Term == s.raft.CurrentTerm() && j.Applied+trailing >= s.raft.CommitIndex():
		s.roster.hear(j.Node, vote)
	default:
		s.roster.hear(j.Node, enter)
	}
	return a, err
}

// leave answers a node that is no server any more, and notes that.
func (s *seat) leave(ctx context.Context, node string) (answer, error) {
	a, err := s.member(ctx, node)
	if err == nil && a.Member != "" {
		s.roster.hear(node, leave)
	}
	return a, err
}

// member returns what the mesh knows of a server, surely committed and nothing older than the question.
func (s *seat) member(ctx context.Context, node string) (answer, error) {
	m := s.members()
	if err := s.barrier(ctx); err != nil {
		return answer{}, err
	}
	n, _ := s.machine.view().Node(node)
	return answer{Member: m.suffrage(node), Server: n.Server, Era: s.era}, nil
}
