package quorum

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// A Status says how this node sees the quorum, for people and monitors.
type Status struct {
	Node string `json:"node"`
	// Role is "leader", "follower" or "candidate" on a server, "joining" on one that has no vote yet, "plain" on
	// any other node, or "closed".
	Role string `json:"role"`
	// Leader is empty while none is known.
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
	// Applied is how many commands the View has.
	Applied uint64 `json:"applied"`
	// LastContact is how long ago the leader was heard, or the server that a plain node follows; 0 on the leader,
	// negative if never.
	LastContact time.Duration `json:"lastContact"`
	// Follows is the server that a node follows which has no log, or none with a vote yet.
	Follows string `json:"follows,omitempty"`
	// Voters and Joining are the servers, with and without a vote, of Raft's configuration as far as this node has
	// heard, by name.
	Voters  []string `json:"voters"`
	Joining []string `json:"joining"`
	// Waiting says what a server waits for that has no vote yet, or a plain node that still has one, or the leader
	// that can't take a server out yet; or what is wrong with what this node hears.
	Waiting string `json:"waiting,omitempty"`
}

// Leader returns the name of the leader as far as this node knows, or "".
func (q *Quorum) Leader() string {
	if s := q.seat.Load(); s != nil {
		if leader := s.leader(); leader != "" {
			return leader
		}
	}
	if f := q.follower.Load(); f != nil {
		return f.leader()
	}
	return ""
}

// Status returns how things stand.
func (q *Quorum) Status() Status {
	st := Status{Node: q.cfg.Node, Role: "plain", Leader: q.Leader(), Applied: q.View().Index(), LastContact: -1}
	if q.cfg.Server {
		st.Role = "joining"
	}
	if f := q.follower.Load(); f != nil {
		var n news
		n, st.LastContact, st.Follows = f.told()
		st.Waiting = f.wrong()
		st.Term, st.Voters, st.Joining = n.Term, n.Voters, n.Joining
	}
	if s := q.seat.Load(); s != nil {
		m := s.members()
		if len(m.voters) > 0 {
			st.Term, st.Voters, st.Joining = s.raft.CurrentTerm(), m.voters, m.joining
		}
		if m.suffrage(q.cfg.Node) == voter {
			st.Role = role(s.raft.State())
		}
		if last := s.raft.LastContact(); s.leads() {
			st.LastContact = 0
		} else if !last.IsZero() {
			st.LastContact = time.Since(last)
		}
	}
	if why := q.waiting.Load(); why != nil && st.Waiting == "" && (st.Role == "joining" || st.Role == "plain") {
		st.Waiting = *why
	}
	if s := q.seat.Load(); s != nil {
		if held := s.held.Load(); held != nil && *held != "" {
			st.Waiting = *held
		}
	}
	if q.ctx.Err() != nil {
		st.Role = "closed"
	}
	return st
}

func role(s raft.RaftState) string {
	switch s {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	default:
		return "follower"
	}
}

// servers are the names of the servers as far as this node knows, but for itself: those of Raft's configuration
// first, the leader at their head, then those that it was told of when it was set up, and by peers.
func (q *Quorum) servers() []string {
	st := q.Status()
	known := slices.Concat(st.Voters, st.Joining)
	for _, s := range q.cfg.Bootstrap {
		known = append(known, s.Name)
	}
	if hint := q.hint.Load(); hint != nil {
		known = append(known, *hint...)
	}
	var names []string
	for _, name := range known {
		if name != q.cfg.Node && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if i := slices.Index(names, st.Leader); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, st.Leader)
	}
	return names
}
