package sim

import (
	"fmt"
	"time"

	"github.com/drover-mesh/drover/state"
)

// leaderLooks is how often a leader looks for nodes whose leases are over.
const leaderLooks = 500 * time.Millisecond

// reckoned is the time by which a leader counts, its monotonic one.
func (h *host) reckoned() time.Time { return wallBegin.Add(h.uptime()) }

// renew asks for a lease, again and again. The request's time is that of its sending.
func (a *agent) renew() {
	n, l := a.n, a.n.w.log
	n.w.d.timer(n.agent, n.host.in(state.RenewEvery(state.DefaultLease)), "renew the lease", a.renew)
	sentBoot, sentWall := n.host.boot(), n.host.wall()
	r := l.believed()
	if r == nil || !n.w.net.joined(n, r.at) {
		return
	}
	n.w.net.send(n, r.at, often, "renewal of "+n.name, func() {
		if r.life != r.at.agent.life {
			return
		}
		l.grant(r, n, func(g state.Lease) {
			g.Boot, g.Wall = sentBoot, sentWall
			a.leased(g)
		})
	})
}

// grant answers a renewal as the one who leads in a reign, once it has made sure that it still does.
func (l *log) grant(r *reign, n *node, answer func(state.Lease)) {
	received := r.at.host.reckoned()
	l.w.d.timer(r.at.agent, l.w.d.between(2*time.Millisecond, 60*time.Millisecond), "verified to lead", func() {
		if !l.leads(r) || !r.ready {
			return
		}
		if !r.grants.Renew(n.name, r.term, received) {
			l.w.seen.add(leaseRefused)
			return
		}
		g := state.Lease{Term: r.term, Index: l.view().Index(), Duration: l.view().Reign().Lease}
		life := n.agent.life
		l.w.net.send(r.at, n, often, "lease for "+n.name, func() {
			if n.agent.life == life {
				answer(g)
			}
		})
	})
}

// oversee has a leader give up the nodes whose leases are over, and their pods to others.
func (l *log) oversee(r *reign) {
	l.w.d.timer(r.at.agent, leaderLooks, "look for late nodes", func() { l.oversee(r) })
	if !r.ready || !l.leads(r) || r.asking > 0 {
		return
	}
	view := l.view()
	lost := r.grants.GiveUp(view.LeaseHolders(), r.at.host.reckoned())
	if len(lost) == 0 {
		return
	}
	commands, _ := state.Failovers(view, state.Loss{
		Nodes: lost, Term: r.term, At: r.at.host.wall(), Ready: func(node string) string { return l.w.unready(r.at, node) },
	})
	if len(commands) == 0 {
		r.grants.Readmit(r.term, lost)
	}
	// A node that was given up stays so until every answer is there; if one never comes, as long as the reign.
	r.asking = len(commands)
	for _, c := range commands {
		l.decided++
		l.failOver(r, fmt.Sprintf("failover-%d", l.decided), c, func() {
			if r.asking--; r.asking == 0 {
				r.grants.Readmit(r.term, lost)
			}
		})
	}
}

// failOver puts a leader's decision into its log. Now and then it takes so long that the leader leads in another reign by then.
func (l *log) failOver(r *reign, id string, c state.Command, answered func()) {
	wait := l.w.d.between(0, 50*time.Millisecond)
	if l.w.strikes(3) {
		wait = l.w.d.between(0, 8*time.Second)
	}
	l.w.d.timer(r.at.agent, wait, "fail over", func() {
		in := r
		if l.leader != nil && l.leader.at == r.at {
			in = l.leader
		}
		l.append(in, id, c, func(state.Result) { answered() })
	})
}

// unready says why a node can't take a pod just now, as gossip tells it.
func (w *world) unready(from *node, name string) string {
	for _, n := range w.nodes {
		if n.name == name && n.alive() && w.net.joined(from, n) {
			return ""
		}
	}
	return "it is not heard of"
}
