package quorum

import (
	"time"

	"github.com/hashicorp/raft"
)

// learn asks the leader to let this node follow the log without a vote, until it does.
func (q *Quorum) learn() {
	for !q.member() {
		if _, err := q.ask(q.ctx, request{Learner: q.cfg.Node}); err != nil {
			return // ask gives up only when the quorum is closed
		}
		select {
		case <-time.After(q.cfg.timing.heartbeat): // until the leader has sent the new configuration
		case <-q.ctx.Done():
			return
		}
	}
}

// member says whether this node is in the configuration that it knows.
func (q *Quorum) member() bool {
	future := q.raft.GetConfiguration()
	if future.Error() != nil {
		return false
	}
	for _, s := range future.Configuration().Servers {
		if s.ID == raft.ServerID(q.cfg.Node) {
			return true
		}
	}
	return false
}
