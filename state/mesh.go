package state

import "net/netip"

// SetMesh fixes what every node must agree on. Each node proposes its configuration; the first wins, and
// a later one that differs is refused.
type SetMesh struct {
	// PodCIDR is the IPv4 prefix out of which every pod gets its address.
	PodCIDR netip.Prefix `json:"podCIDR"`
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
	m.t.podCIDR = cidr
	return Result{OK: true}
}
