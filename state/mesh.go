package state

import (
	"cmp"
	"net/netip"
)

// SetMesh fixes what every node must agree on. Each node proposes its configuration; the first wins, and
// a later one that differs is refused.
type SetMesh struct {
	// PodCIDR is the IPv4 prefix out of which every pod gets its address.
	PodCIDR netip.Prefix `json:"podCIDR"`
	// ID is a new random name for the mesh, or "". The first is the mesh's for ever, whatever others propose.
	ID string `json:"id,omitempty"`
}

// Kind implements [Command].
func (SetMesh) Kind() Kind { return KindSetMesh }

func (c SetMesh) apply(m *Machine) Result {
	cidr := c.PodCIDR
	switch {
	case !cidr.IsValid() || !cidr.Addr().Is4():
		return refused("the pod CIDR %s is not an IPv4 prefix such as 10.88.0.0/16", cidr)
	case cidr != cidr.Masked():
		return refused("the pod CIDR %s has host bits: did you mean %s?", cidr, cidr.Masked())
	case cidr.Bits() > 29:
		return refused("the pod CIDR %s is too small: it may be a /29 or larger", cidr)
	case m.t.podCIDR.IsValid() && m.t.podCIDR != cidr:
		return refused("the pod CIDR of this mesh is %s, not %s: set podCIDR in the agent's configuration to that", m.t.podCIDR, cidr)
	}
	if c.ID != "" {
		if reason := checkName("ID of the mesh", c.ID); reason != "" {
			return refused("%s", reason)
		}
	}
	m.t.podCIDR, m.t.meshID = cidr, cmp.Or(m.t.meshID, c.ID)
	return Result{OK: true}
}
