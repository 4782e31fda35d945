package state

import (
	"fmt"
	"time"
)

// A Reign is committed by each new leader of the servers before it grants the first lease or gives the first node up. Commands of
// an earlier reign that decide over a node that was given up are refused from then on: see [Failover]. Twice is once.
//
// Terms only grow. A leader takes Raft's term, or the next after the latest reign's if that is greater: a mesh that was restored
// from a snapshot may count Raft's terms anew.
type Reign struct {
	// Server leads.
	Server string `json:"server"`
	// Term numbers the reign.
	Term uint64 `json:"term"`
	// Lease is how long the leases are that it grants. 0 is [DefaultLease].
	Lease time.Duration `json:"lease,omitempty"`
	// Settled says, of the reign that is on already, that no lease of an earlier one is left.
	Settled bool `json:"settled,omitempty"`
}

// Kind implements [Command].
func (Reign) Kind() Kind { return KindReign }

func (c Reign) apply(m *Machine) Result {
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	now := m.t.reign
	switch reason := checkName("name of the server that leads", c.Server); {
	case reason != "":
		return refused("%s", reason)
	case c.Term == 0:
		return refused("a reign has a term")
	case CheckLease(c.Lease) != nil:
		return refused("%v", CheckLease(c.Lease))
	case now.Server == c.Server && now.Term == c.Term && now.Lease == c.Lease:
		if c.Settled {
			m.t.reign.Settled, m.t.longestLease = true, c.Lease
		}
		return Result{OK: true}
	case c.Term <= now.Term:
		return refused("the reign of %s in term %d is over: that of %s in term %d has come", c.Server, c.Term, now.Server, now.Term)
	case c.Settled:
		return refused("no reign begins settled")
	}
	m.t.reign, m.t.longestLease = c, max(m.t.longestLease, c.Lease)
	return Result{OK: true}
}

// reigns says why a command of that term comes too late, or too early, or returns "".
func (m *Machine) reigns(term uint64) (reason string) {
	if now := m.t.reign; term == 0 || term != now.Term {
		return fmt.Sprintf("it was decided in term %d, and the mesh is led in term %d", term, now.Term)
	}
	return ""
}

// Reign returns the latest reign, the zero Reign if there was none.
func (v View) Reign() Reign { return v.t.reign }

// LongestLease is the longest that a lease may be that somebody holds: that of the latest reign, or of an earlier one that is
// not known to be over.
func (v View) LongestLease() time.Duration { return v.t.longestLease }
