package state

import (
	"net/netip"
	"time"
)

// A Node is a host of the mesh, as it described itself when its agent last started.
type Node struct {
	Name string `json:"name"`
	// Site is where the node stands; several nodes may share one.
	Site string `json:"site"`
	// Addr takes QUIC (UDP): control, bulk data and Raft.
	Addr netip.AddrPort `json:"addr"`
	// Gossip takes memberlist's UDP and TCP.
	Gossip netip.AddrPort `json:"gossip"`
	// Arch is Go's name of the CPU architecture, such as "amd64".
	Arch string `json:"arch"`
	// Version is that of the agent.
	Version string `json:"version"`
	// Enrols says that it has the key of the mesh's authority, and can admit nodes.
	Enrols bool `json:"enrols,omitempty"`
	// Server says that it holds Raft's log and votes.
	Server bool `json:"server,omitempty"`
}

// Longest free text of a node's description, in bytes.
const maxNodeText = 128

// RegisterNode makes a node known, or replaces what it said of itself before.
type RegisterNode struct {
	Node Node `json:"node"`
}

// Kind implements [Command].
func (RegisterNode) Kind() Kind { return KindRegisterNode }

func (c RegisterNode) apply(m *Machine) Result {
	n := c.Node
	if reason := checkName("name of the node", n.Name); reason != "" {
		return refused("%s", reason)
	}
	if reason := checkName("site of node "+n.Name, n.Site); reason != "" {
		return refused("%s", reason)
	}
	if e := m.t.enrolments[n.Name]; e.Removed {
		return refused("node %s was removed from the mesh", n.Name).withCure("join it again, with a new token")
	}
	n.Arch, n.Version = clip(n.Arch, maxNodeText), clip(n.Version, maxNodeText)
	m.putNode(n)
	return Result{OK: true}
}

// ForgetNode removes a node that owns nothing and takes part in no open migration, and voids its
// certificates: it can come back only by joining anew. A node that isn't known is forgotten already.
type ForgetNode struct {
	Name string `json:"name"`
	// At is the proposer's time. Without it the node's certificates are remembered as void for ever.
	At time.Time `json:"at,omitzero"`
}

// Kind implements [Command].
func (ForgetNode) Kind() Kind { return KindForgetNode }

func (c ForgetNode) apply(m *Machine) Result {
	v := m.View()
	for _, pod := range v.Pods() {
		if pod.Node == c.Name {
			return refused("node %s still has pod %s: move or remove it first", c.Name, pod.Name)
		}
	}
	if left := v.VolumesAt(c.Name); len(left) > 0 {
		return refused("node %s still has volume %s: remove it first, or move it with its pod", c.Name, left[0].Name)
	}
	for _, g := range v.Migrations() {
		if g.Phase.Open() && (g.Source == c.Name || g.Target == c.Name) {
			return refused("node %s takes part in %s", c.Name, g)
		}
	}
	if !writable(c.At) {
		return refused("the time at which node %s is removed is not within the years 0 to 9999", c.Name)
	}
	m.expel(c.Name, c.At)
	m.dropNode(c.Name)
	return Result{OK: true}
}
