package state

import "time"

// RevokedFor is how long the mesh remembers that a removed node's certificates are void: longer than any
// certificate lives.
const RevokedFor = 100 * 24 * time.Hour

// An Enrolment says which certificates of a node are good: those of its generation. A host that joins gets
// the next generation of its name, so that the certificates of a host that was removed, or replaced under
// its name, are void wherever they turn up, without anybody having listed them.
//
// Identities that were made beside the mesh, not by joining it, are of generation 0 and have no enrolment
// until they are removed.
type Enrolment struct {
	Node       string `json:"node"`
	Generation uint64 `json:"generation"`
	// Key is the SHA-256 of the node's public key, empty in generation 0.
	Key Digest `json:"key,omitempty"`
	// Server says that it was admitted as a server.
	Server bool `json:"server,omitempty"`
	// Token is the ID of the token that admitted it.
	Token string `json:"token,omitempty"`
	// Removed says that the node was removed from the mesh, at that time by the proposer's clock.
	Removed   bool      `json:"removed,omitempty"`
	RemovedAt time.Time `json:"removedAt,omitzero"`
}

// forgettable says that no certificate of the enrolment can be valid any more.
func (e Enrolment) forgettable(now time.Time) bool {
	return e.Removed && !e.RemovedAt.IsZero() && e.RemovedAt.Add(RevokedFor).Before(now)
}

// enrolled answers with the enrolment of a node.
func (m *Machine) enrolled(node string) Result {
	r := Result{OK: true}
	if e, ok := m.t.enrolments[node]; ok {
		r.Enrolment = &e
	}
	return r
}

// expel voids the certificates of a node that is removed, and the tokens with which it could come back.
func (m *Machine) expel(node string, at time.Time) {
	e, enrolled := m.t.enrolments[node]
	if _, known := m.t.nodes[node]; !known && !enrolled || e.Removed {
		return
	}
	e.Node, e.Removed, e.RemovedAt = node, true, instant(at)
	m.putEnrolment(e)
	for _, t := range sorted(m.t.tokens) {
		if t.Left() > 0 && t.usedBy(node, e.Key) {
			m.revoke(t, "node "+node+", which joined with it, was removed")
		}
	}
}

// instant has neither zone nor monotonic reading: every server must hold the same value.
func instant(t time.Time) time.Time { return t.Round(0).UTC() }

// writable says whether t can be written down: JSON has no other years.
func writable(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}
