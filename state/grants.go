package state

import (
	"slices"
	"time"
)

// Grants is the leader's book of leases: to whom it may grant one, and whom it may give up. It is not safe for concurrent use.
// The zero Grants is that of a server that doesn't lead: it grants nothing and gives up nobody.
//
// Times are those of one clock, the leader's, that never runs ahead of true time by more than the drift. One that stops
// while the host is suspended is right: it waits the longer.
type Grants struct {
	term     uint64 // 0: it doesn't lead
	lease    time.Duration
	earlier  time.Duration // the longest lease of an earlier reign
	elected  time.Time
	renewed  map[string]time.Time // the latest request that was granted
	expected map[string]time.Time // since when the node has to hold a lease
	givenUp  map[string]bool
}

// Begin begins a reign that has been committed and applied, at a leader that was elected then, or earlier. Any node may have got
// a lease of the leader before in that moment, as long as the longest that is known.
func (g *Grants) Begin(r Reign, longest time.Duration, elected time.Time) {
	*g = Grants{
		term: r.Term, lease: r.Lease, earlier: max(longest, r.Lease), elected: elected,
		renewed: map[string]time.Time{}, expected: map[string]time.Time{}, givenUp: map[string]bool{},
	}
}

// End ends the reign.
func (g *Grants) End() { *g = Grants{} }

// Term is that of the reign, 0 if there is none.
func (g *Grants) Term() uint64 { return g.term }

// Renew grants a lease of a term to a node, or returns false: the reign is over, or the node was given up. The lease lasts from
// when the node sent its request; received is when that came, which is later. The leader calls it when it has made sure, after
// received, that it still led.
func (g *Grants) Renew(node string, term uint64, received time.Time) bool {
	if g.term == 0 || g.term != term || g.givenUp[node] {
		return false
	}
	if received.After(g.renewed[node]) {
		g.renewed[node] = received
	}
	return true
}

// Late returns, of the nodes that have to hold a lease, those whose last one is over for sure, with all that it allowed. A node
// that has to hold one only now gets the time to ask for it. holders are all of them at that moment, see [View.LeaseHolders].
func (g *Grants) Late(holders []string, now time.Time) []string {
	if g.term == 0 {
		return nil
	}
	for node := range g.expected {
		if !slices.Contains(holders, node) {
			delete(g.expected, node)
		}
	}
	var late []string
	for _, node := range holders {
		if _, known := g.expected[node]; !known {
			g.expected[node] = now
		}
		if g.givenUp[node] || !now.Before(g.over(node)) {
			late = append(late, node)
		}
	}
	return late
}

// over is when nothing that a lease of the node allows can run any more.
func (g *Grants) over(node string) time.Time {
	end := g.elected.Add(TakeOverAfter(g.earlier))
	for _, at := range []time.Time{g.renewed[node], g.expected[node]} {
		if last := at.Add(TakeOverAfter(g.lease)); last.After(end) {
			end = last
		}
	}
	return end
}

// GiveUp gives up, of the holders, those that are late: they get no lease until they are readmitted. It returns them, and those
// that were given up before.
func (g *Grants) GiveUp(holders []string, now time.Time) []string {
	late := g.Late(holders, now)
	for _, node := range late {
		g.givenUp[node] = true
	}
	return late
}

// Readmit lets nodes have leases again. It is called only when every command of this reign that gave their pods away has been
// answered, so that the index of the next lease is after it.
func (g *Grants) Readmit(term uint64, nodes []string) {
	if g.term != term {
		return
	}
	for _, node := range nodes {
		delete(g.givenUp, node)
	}
}

// Settled says that no lease of an earlier reign is left.
func (g *Grants) Settled(now time.Time) bool {
	return g.term != 0 && !now.Before(g.elected.Add(TakeOverAfter(g.earlier)))
}
