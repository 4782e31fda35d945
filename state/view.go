package state

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// A View is the state at one moment. It never changes, so any number of goroutines may read it; the slices
// that it returns are the caller's. The zero View knows nothing.
type View struct{ t tables }

// Index is the number of commands applied so far, refused ones and duplicates among them: the same on
// every server for the same state.
func (v View) Index() uint64 { return v.t.index }

// Latest is the ID of the latest proposal that was applied and is no duplicate, "" if there was none. Two states with
// the same Index and different Latest have different histories.
func (v View) Latest() string {
	if len(v.t.outcomes) == 0 {
		return ""
	}
	return v.t.outcomes[len(v.t.outcomes)-1].ID
}

// MeshID tells this mesh from any other, whatever they are called; "" as long as it is not set.
func (v View) MeshID() string { return v.t.meshID }

// PodCIDR returns the prefix of all pods, invalid as long as it is not set.
func (v View) PodCIDR() netip.Prefix { return v.t.podCIDR }

// Pods returns all pods by name.
func (v View) Pods() []Pod {
	return sorted(v.t.pods)
}

// Pod returns the pod of that name.
func (v View) Pod(name string) (Pod, bool) {
	pod, ok := v.t.pods[name]
	return pod, ok
}

// Nodes returns all nodes by name.
func (v View) Nodes() []Node {
	return sorted(v.t.nodes)
}

// Node returns the node of that name.
func (v View) Node(name string) (Node, bool) {
	node, ok := v.t.nodes[name]
	return node, ok
}

// NodesAt returns the nodes of a site by name.
func (v View) NodesAt(site string) []Node {
	return slices.DeleteFunc(v.Nodes(), func(n Node) bool { return n.Site != site })
}

// Migrations returns the latest finished migrations, in the order in which they ended, and then the open ones by ID.
func (v View) Migrations() []Migration {
	var all []Migration
	for _, id := range v.t.finished {
		all = append(all, v.t.migrations[id])
	}
	open := slices.DeleteFunc(sorted(v.t.migrations), func(g Migration) bool { return !g.Phase.Open() })
	return append(all, open...)
}

// Migration returns the migration of that ID.
func (v View) Migration(id string) (Migration, bool) {
	g, ok := v.t.migrations[id]
	return g, ok
}

// Tokens returns all tokens by ID, the expired ones of the last week among them.
func (v View) Tokens() []Token { return sorted(v.t.tokens) }

// Token returns the token of that ID.
func (v View) Token(id string) (Token, bool) {
	t, ok := v.t.tokens[id]
	return t, ok
}

// Enrolment returns the latest enrolment of a node.
func (v View) Enrolment(node string) (Enrolment, bool) {
	e, ok := v.t.enrolments[node]
	return e, ok
}

// Revoked says why certificates of this generation of a node are void, or returns "".
func (v View) Revoked(node string, generation uint64) (reason string) {
	e, ok := v.t.enrolments[node]
	switch {
	case !ok || generation > e.Generation:
		return ""
	case e.Removed:
		return "the node was removed from the mesh"
	case generation < e.Generation:
		return "another host has joined under that name since"
	}
	return ""
}

// Owns says whether node may run the pod with this UID at this epoch.
func (v View) Owns(node, uid string, epoch uint64) bool {
	for _, pod := range v.t.pods {
		if pod.UID == uid {
			return pod.Node == node && pod.Epoch == epoch
		}
	}
	return false
}

// sorted returns the values of a map in the order of its keys.
func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	values := make([]V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[key])
	}
	return values
}
