package quorum

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// agenda is all that decides how Raft's configuration changes next.
type agenda struct {
	self string // the leader
	members
	in   map[string]intent // registered servers that want to enter, or a vote
	out  map[string]string // who must go, and why
	down map[string]bool   // doesn't answer
	dead map[string]string // has not answered for long, as people are told
}

// A step is one change of Raft's configuration, or of its leader.
type step struct {
	do   action
	node string
	why  string
}

// An action is what a step does.
type action string

const (
	add     action = "add"
	promote action = "promote"
	remove  action = "remove"
	yield   action = "yield" // the leader itself must go: another one removes it
)

// next returns the step to take now, the zero step if there is none, and who must go and can't be spared yet.
func (a agenda) next() (s step, held string) {
	for _, node := range slices.Sorted(slices.Values(slices.Concat(a.voters, a.joining))) {
		why, out := a.out[node]
		switch {
		case !out:
		case a.suffrage(node) == voter && !a.canSpare(node):
			held = fmt.Sprintf("server %s should leave (%s), but without it too few would answer", node, why)
		case node == a.self:
			s = step{yield, node, why}
		default:
			return step{remove, node, why}, ""
		}
	}
	if s.do != "" {
		return s, held
	}
	for _, node := range slices.Sorted(maps.Keys(a.in)) {
		_, out := a.out[node]
		switch has := a.suffrage(node); {
		case out:
		case has == "":
			return step{add, node, "it is a server that joins"}, held
		case has == nonvoter && a.in[node] == vote:
			return step{promote, node, "it has caught up"}, held
		}
	}
	s, late := a.bury()
	return s, cmp.Or(held, late)
}

// keepVoters is how many servers vote at least, dead ones included. Of three with one dead the mesh can't lose another;
// of the two that would be left it can't either, and if the dead one comes back it helps at once, as it has its vote.
const keepVoters = 3

// bury takes the vote of a server that is dead: of one at a time, and only while a majority of the others answers.
func (a agenda) bury() (s step, held string) {
	for _, node := range slices.Sorted(maps.Keys(a.dead)) {
		switch a.suffrage(node) {
		case nonvoter:
			return step{remove, node, a.dead[node]}, ""
		case voter:
			if len(a.voters) > keepVoters && a.canSpare(node) {
				return step{remove, node, a.dead[node]}, ""
			}
			held = fmt.Sprintf("server %s is to be started again, or replaced: %s", node, a.dead[node])
		}
	}
	return step{}, held
}

// canSpare says whether a majority of the other voters is there, so that the mesh goes on without this one.
func (a agenda) canSpare(node string) bool {
	rest, up := 0, 0
	for _, v := range a.voters {
		if v == node {
			continue
		}
		rest++
		if !a.down[v] {
			up++
		}
	}
	return up > rest/2
}
