package gossip

import (
	"net/netip"

	"github.com/hashicorp/memberlist"
)

// events is a Mesh as memberlist calls it, under memberlist's lock: these methods never block and never call back.
type events Mesh

// NotifyAlive refuses nodes that can't be understood.
func (e *events) NotifyAlive(n *memberlist.Node) error {
	_, err := decodeMeta(n.Meta)
	return err
}

// NotifyJoin notes a member that is new, or back.
func (e *events) NotifyJoin(n *memberlist.Node) { e.put(n, "node joined") }

// NotifyUpdate notes that a member describes itself anew.
func (e *events) NotifyUpdate(n *memberlist.Node) { e.put(n, "node changed") }

func (e *events) put(n *memberlist.Node, what string) {
	meta, err := decodeMeta(n.Meta)
	if err != nil {
		return // NotifyAlive refused it
	}
	member := Member{Node: n.Name, Site: meta.Site, Addr: meta.QUIC, Gossip: addrPort(n), Version: meta.Version, State: Alive}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.members[n.Name] = member
	delete(e.leaving, n.Name)
	if n.Name != e.config.Node {
		e.log.Info(what, "node", n.Name, "site", member.Site, "address", member.Addr.String())
	}
	(*Mesh)(e).changed()
}

// NotifyLeave notes that a member is gone.
func (e *events) NotifyLeave(n *memberlist.Node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	member, ok := e.members[n.Name]
	if !ok {
		return
	}
	switch {
	case n.Name == e.config.Node, e.leaving[n.Name]:
		member.State = Left
		e.log.Info("node left", "node", n.Name)
	default:
		member.State = Dead
		e.log.Warn("node does not answer: taken for dead", "node", n.Name, "site", member.Site)
	}
	e.members[n.Name] = member
	delete(e.leaving, n.Name)
	(*Mesh)(e).changed()
}

// NotifyConflict complains about a second node of one name.
func (e *events) NotifyConflict(existing, other *memberlist.Node) {
	e.complain.conflict(e.config.Node, existing, other)
}

// delegate carries the node's metadata, and its last word: memberlist doesn't tell its users whether a member left or
// died, so a node that leaves says so.
type delegate struct {
	mesh *Mesh
	meta []byte
}

// leavingMessage is followed by the name of the node that leaves.
const leavingMessage = 1

// NodeMeta returns what encodeMeta made, which fits.
func (d *delegate) NodeMeta(int) []byte { return d.meta }

// NotifyMsg takes a node's word that it leaves.
func (d *delegate) NotifyMsg(b []byte) {
	if len(b) < 2 || b[0] != leavingMessage {
		return
	}
	d.mesh.mu.Lock()
	defer d.mesh.mu.Unlock()
	name := string(b[1:])
	member, ok := d.mesh.members[name]
	switch {
	case !ok || name == d.mesh.config.Node:
	case member.State == Dead: // the news that it is gone was faster
		member.State = Left
		d.mesh.members[name] = member
		d.mesh.changed()
	case member.State == Alive:
		d.mesh.leaving[name] = true
	}
}

// GetBroadcasts has nothing to send along.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState has nothing to send along.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState ignores what a later version may send along.
func (d *delegate) MergeRemoteState([]byte, bool) {}

// sayLeaving tells every member that this node leaves, those taken for dead too: they may be about to refute it. One
// that misses the message, a datagram, will take this node for dead.
func (m *Mesh) sayLeaving() {
	message := append([]byte{leavingMessage}, m.config.Node...)
	for _, member := range m.Members() {
		if member.Node == m.config.Node || member.State == Left {
			continue
		}
		to := memberlist.Address{Addr: member.Gossip.String(), Name: member.Node}
		if err := m.list.SendToAddress(to, message); err != nil {
			m.log.Debug("could not tell that this node leaves", "to", member.Node, "error", err)
		}
	}
}

func addrPort(n *memberlist.Node) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(ip.Unmap(), n.Port)
}
