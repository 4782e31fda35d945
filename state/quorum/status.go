package quorum

import (
	"time"

	"github.com/hashicorp/raft"
)

// A Status says how this node sees the quorum, for people and monitors.
type Status struct {
	Node string `json:"node"`
	// Role is "leader", "follower", "candidate", "learner" or "closed".
	Role string `json:"role"`
	// Leader is empty while none is known.
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
	// Committed and Applied are indices of Raft's log, as far as this node has heard.
	Committed uint64 `json:"committed"`
	Applied   uint64 `json:"applied"`
	// LastContact is how long ago the leader was heard; 0 on the leader, negative if never.
	LastContact time.Duration `json:"lastContact"`
	// Voters and Learners are the members, as configured when this node last heard.
	Voters   []string `json:"voters"`
	Learners []string `json:"learners"`
}

// Leader returns the name of the leader as far as this node knows, or "".
func (q *Quorum) Leader() string {
	_, id := q.raft.LeaderWithID()
	return string(id)
}

// Status returns how things stand.
func (q *Quorum) Status() Status {
	s := Status{
		Node: q.cfg.Node, Role: q.role(), Leader: q.Leader(), Term: q.raft.CurrentTerm(),
		Committed: q.raft.CommitIndex(), Applied: q.raft.AppliedIndex(), LastContact: -1,
	}
	if s.Role == "leader" {
		s.LastContact = 0
	} else if last := q.raft.LastContact(); !last.IsZero() {
		s.LastContact = time.Since(last)
	}
	future := q.raft.GetConfiguration()
	if future.Error() != nil {
		return s
	}
	for _, server := range future.Configuration().Servers {
		if server.Suffrage == raft.Voter {
			s.Voters = append(s.Voters, string(server.ID))
		} else {
			s.Learners = append(s.Learners, string(server.ID))
		}
	}
	return s
}

func (q *Quorum) role() string {
	switch q.raft.State() {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Shutdown:
		return "closed"
	}
	if !q.voter() {
		return "learner"
	}
	return "follower"
}

// watchLeader logs every change of leader.
func (q *Quorum) watchLeader() {
	changes := make(chan raft.Observation, 8)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	q.raft.RegisterObserver(observer)
	q.spawn(func() {
		defer q.raft.DeregisterObserver(observer)
		for {
			select {
			case o := <-changes:
				if leader := string(o.Data.(raft.LeaderObservation).LeaderID); leader != "" {
					q.log.Info("the quorum has a leader", "leader", leader)
				} else {
					q.log.Warn("the quorum has no leader", "cause", "this node has not heard one in time")
				}
			case <-q.ctx.Done():
				return
			}
		}
	})
}
