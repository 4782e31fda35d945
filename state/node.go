package state

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Node is a host of the mesh: what it said of itself when its agent last started, and what operators have set
// since. Nobody may modify its maps and slices.
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
	// Capacity is what pods may request of it.
	Capacity Resources `json:"capacity,omitzero"`
	// CRIU is the version of its CRIU, such as "4.2.1"; "" if it has none.
	CRIU string `json:"criu,omitempty"`
	// Kernel is the release of its kernel.
	Kernel string `json:"kernel,omitempty"`
	// CPUFlags name the features of its CPU that programs may use, sorted.
	CPUFlags []string `json:"cpuFlags,omitempty"`
	// Configured are the labels of its configuration file.
	Configured map[string]string `json:"configured,omitempty"`

	// Set are the labels that operators gave it. See [Node.Labels].
	Set map[string]string `json:"set,omitempty"`
	// Cordoned says that no pod may be started on it or moved to it.
	Cordoned bool `json:"cordoned,omitempty"`
}

// Bounds of a node's description: the log keeps it.
const (
	maxNodeText = 128 // longest free text, in bytes
	maxCPUFlags = 256
	maxCPUFlag  = 32 // longest name of a flag, in bytes
)

// RegisterNode makes a node known, or replaces what it said of itself before. What operators set stays.
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
	switch e := m.t.enrolments[n.Name]; {
	case e.Removed:
		return refused("node %s was removed from the mesh", n.Name).withCure("join it again, with a new token")
	case n.Server && e.Generation > 0 && !e.Server:
		return refused("node %s is configured as a server, and was admitted as a plain node", n.Name).
			withCure("take role: server out of its configuration, or remove it and join it again with a token for servers")
	}
	if reason := checkLabels(n.Configured); reason != "" {
		return refused("node %s: %s", n.Name, reason)
	}
	if reason := checkFlags(n.CPUFlags); reason != "" {
		return refused("node %s: %s", n.Name, reason)
	}
	if n.Capacity.CPU < 0 || n.Capacity.Memory < 0 {
		return refused("node %s: its capacity is negative", n.Name)
	}
	n.Arch, n.Version = clip(n.Arch, maxNodeText), clip(n.Version, maxNodeText)
	n.CRIU, n.Kernel = clip(n.CRIU, maxNodeText), clip(n.Kernel, maxNodeText)
	before := m.t.nodes[n.Name]
	n.Set, n.Cordoned = before.Set, before.Cordoned
	m.putNode(n)
	return Result{OK: true}
}

func checkFlags(flags []string) (reason string) {
	if len(flags) > maxCPUFlags {
		return fmt.Sprintf("it has %d CPU flags, more than the %d that are kept", len(flags), maxCPUFlags)
	}
	for _, f := range flags {
		if f == "" || len(f) > maxCPUFlag || clip(f, maxCPUFlag) != f {
			return fmt.Sprintf("%.40q is no CPU flag", f)
		}
	}
	if !slices.IsSorted(flags) {
		return "its CPU flags are not sorted"
	}
	return ""
}

// CordonNode keeps new pods and moves away from a node, or lets them come again. The pods that it has stay, and moves
// that are reserved already come to their end. Twice is once.
type CordonNode struct {
	Name     string `json:"name"`
	Cordoned bool   `json:"cordoned"`
}

// Kind implements [Command].
func (CordonNode) Kind() Kind { return KindCordonNode }

func (c CordonNode) apply(m *Machine) Result {
	n, ok := m.t.nodes[c.Name]
	if !ok {
		return refused("%s", unknownNode(c.Name))
	}
	n.Cordoned = c.Cordoned
	m.putNode(n)
	return Result{OK: true}
}

// closed says why a pod may not come to a node, or returns "". Since commands come one after the other, pods never request
// more of a node than it has, however many are placed at the same time, unless the node comes back with less.
func (m *Machine) closed(node, uid string, needs Needs) (reason string) {
	n, ok := m.t.nodes[node]
	switch {
	case !ok:
		return unknownNode(node)
	case n.Cordoned:
		return fmt.Sprintf("node %s is cordoned", node)
	}
	if lack := n.lacks(View{t: m.t}.allocated(node, uid, nil).Requested, needs); lack != "" {
		return fmt.Sprintf("node %s has no room: %s", node, lack)
	}
	return ""
}
