package sim

import (
	"fmt"
	"time"

	"github.com/drover-mesh/drover/state"
)

// The log is consensus as the nodes see it, without Raft's messages: commands are put into the log of whoever leads, and
// the leader of the day commits them in order, as long as a majority of the servers reaches it. Everything that
// makes consensus hard for those who use it is there:
//
//   - a leader that is cut off goes on taking commands, which are never answered;
//   - of what it had not committed a part may survive it and be committed by a later leader, however late, after the
//     proposer gave up or died; the rest is gone;
//   - what is committed reaches each node in order, but later than it was committed, and later than the answer.
//
// TestTheLogIsRafts holds the same rules against hashicorp/raft.
type log struct {
	w       *world
	clerk   *process // does what the servers do together
	machine *state.Machine
	views   []state.View // after each committed entry
	history []committed
	term    uint64
	leader  *reign   // of the latest term; nil while there is none
	tails   []*reign // whose entries may still survive: nothing was committed since
	voters  []*node

	proposed  int
	decided   int // failovers
	proposals map[string]*proposal
}

// committed is a line of the log's history.
type committed struct {
	ID      string
	Command state.Command
	Result  state.Result
	Term    uint64
	At      time.Duration
}

type entry struct {
	id      string
	command state.Command
	spread  bool // another server has it, so it may survive its leader
	answer  func(state.Result)
}

// A reign is one server's time as leader, as it sees it: it may be over without its knowing.
type reign struct {
	at      *node
	life    int // of its agent
	term    uint64
	pending []entry
	ready   bool      // its own first entry is applied
	elected time.Time // by its host
	grants  state.Grants
	asking  int // failovers whose outcome is open
}

func newLog(w *world, voters []*node) *log {
	l := &log{w: w, clerk: &process{name: "servers"}, machine: state.New(), voters: voters, proposals: map[string]*proposal{}}
	l.views = []state.View{l.machine.View()}
	l.w.d.timer(l.clerk, 0, "election", l.elect)
	l.watch()
	return l
}

// view is the newest committed state, which nobody but the leader can know.
func (l *log) view() state.View { return l.views[len(l.views)-1] }

// majority says whether a server reaches most of the others, now.
func (l *log) majority(at *node) bool {
	n := 0
	for _, v := range l.voters {
		if v.alive() && l.w.net.joined(at, v) {
			n++
		}
	}
	return at.alive() && 2*n > len(l.voters) && contains(l.voters, at)
}

// leads says whether r is who may commit: no later leader can have been elected without its majority.
func (l *log) leads(r *reign) bool {
	return l.leader == r && r.at.agent.life == r.life && l.majority(r.at)
}

// watch looks for a leader that is gone, now and then for no reason.
func (l *log) watch() {
	l.w.d.timer(l.clerk, 200*time.Millisecond, "watch", func() {
		switch {
		case l.leader != nil && !l.leads(l.leader):
			l.depose("lost its majority")
		case l.leader != nil && l.w.faulty() && l.w.d.oneIn(80):
			l.depose("hands over")
		}
		l.watch()
	})
}

func (l *log) depose(why string) {
	l.w.d.trace.note("%s led in term %d and %s", l.leader.at.name, l.leader.term, why)
	l.tails = append(l.tails, l.leader)
	l.leader = nil
	l.w.d.timer(l.clerk, l.w.d.between(300*time.Millisecond, 3*time.Second), "election", l.elect)
}

// elect gives the next term to one of those who can win it.
func (l *log) elect() {
	var able []*node
	for _, v := range l.voters {
		if l.majority(v) {
			able = append(able, v)
		}
	}
	if len(able) == 0 {
		l.w.d.timer(l.clerk, l.w.d.between(200*time.Millisecond, time.Second), "election", l.elect)
		return
	}
	l.term++
	at := able[l.w.d.IntN(len(able))]
	if n := len(l.tails); n > 0 && contains(able, l.tails[n-1].at) && l.w.d.oneIn(2) {
		at = l.tails[n-1].at // the one before, again
	}
	r := &reign{at: at, life: at.agent.life, term: l.term, elected: at.host.reckoned()}
	r.pending = l.survivors()
	l.leader = r
	l.w.seen.add(elections)
	l.w.d.trace.note("%s leads in term %d, with %d entries of its predecessors", at.name, l.term, len(r.pending))
	reign := state.Reign{Server: at.name, Term: r.term, Lease: []time.Duration{4 * time.Second, state.DefaultLease}[l.w.d.IntN(2)]}
	l.append(r, fmt.Sprintf("reign-%d", r.term), reign, func(state.Result) {
		v := l.view()
		r.ready = true
		r.grants.Begin(v.Reign(), v.LongestLease(), r.elected)
		l.oversee(r)
	})
}

// settle commits a command without ado, before anything has begun.
func (l *log) settle(id string, c state.Command) {
	r := l.machine.ApplyOnce(id, c)
	l.views = append(l.views, l.machine.View())
	l.history = append(l.history, committed{id, c, r, l.term, l.w.d.now})
}

// changeVoters replaces a server by another node, if the leader reaches most of the old ones and most of the new ones.
func (l *log) changeVoters() {
	var plain []*node
	for _, n := range l.w.nodes {
		if !contains(l.voters, n) && n.alive() {
			plain = append(plain, n)
		}
	}
	if len(plain) == 0 || l.leader == nil || !l.leads(l.leader) {
		return
	}
	out := l.w.d.IntN(len(l.voters))
	if l.voters[out] == l.leader.at {
		return
	}
	old := l.voters
	l.voters = append([]*node{}, old...)
	l.voters[out] = plain[l.w.d.IntN(len(plain))]
	if !l.majority(l.leader.at) {
		l.voters = old
		return
	}
	l.w.seen.add(votersChanged)
	l.w.d.trace.note("%s votes instead of %s", l.voters[out].name, old[out].name)
}

// sync lets a node catch up with what is committed now, or tells it that it can't.
func (l *log) sync(n *node, done, failed func()) {
	r := l.believed()
	life := n.agent.life
	answered := false
	l.w.d.timer(n.agent, 2*time.Second, "sync times out", func() {
		if !answered {
			answered = true
			failed()
		}
	})
	if r == nil || !l.w.net.joined(n, r.at) {
		return
	}
	l.w.net.send(n, r.at, often, "sync", func() {
		l.w.d.timer(r.at.agent, l.w.d.between(2*time.Millisecond, 60*time.Millisecond), "barrier", func() {
			if !l.leads(r) || !r.ready {
				return
			}
			index := l.view().Index()
			l.w.net.send(r.at, n, once, "synced", func() {
				n.hear(index)
				if n.agent.life == life && !answered && n.index >= index {
					answered = true
					done()
				}
			})
		})
	})
}

// survivors are what a new leader has of its predecessors' entries: a beginning of what one of them had not committed.
func (l *log) survivors() []entry {
	if len(l.tails) == 0 {
		return nil
	}
	old := l.tails[l.w.d.IntN(len(l.tails))].pending
	var left []entry
	for _, e := range old {
		if !e.spread || l.w.d.oneIn(3) {
			break
		}
		e.answer = nil // who could give it is no leader any more
		left = append(left, e)
	}
	return left
}

// append puts a command into the log of a server that believes that it leads.
func (l *log) append(r *reign, id string, c state.Command, answer func(state.Result)) {
	spread := false
	for _, v := range l.voters {
		spread = spread || v != r.at && v.alive() && l.w.net.joined(r.at, v)
	}
	r.pending = append(r.pending, entry{id, c, spread, answer})
	l.w.d.timer(r.at.agent, l.w.d.between(5*time.Millisecond, 120*time.Millisecond), "replicated", func() { l.commit(r) })
}

// commit carries out all that a leader has, if it may.
func (l *log) commit(r *reign) {
	if !l.leads(r) {
		if l.leader == r { // it may reach a majority again before it is deposed
			l.w.d.timer(r.at.agent, 100*time.Millisecond, "replicates again", func() { l.commit(r) })
		}
		return
	}
	entries := r.pending
	r.pending, l.tails = nil, nil
	for _, e := range entries {
		result := l.machine.ApplyOnce(e.id, e.command)
		l.views = append(l.views, l.machine.View())
		l.history = append(l.history, committed{e.id, e.command, result, r.term, l.w.d.now})
		l.w.d.trace.note("%d: %s %s", l.machine.View().Index(), e.id, show(e.command, result))
		l.note(e.id, result)
		l.w.applied(e.command, result)
		if e.answer != nil {
			e.answer(result)
		}
	}
	for _, n := range l.w.nodes {
		l.feed(n)
	}
}

// feed tells a node what is committed, if it can hear of it.
func (l *log) feed(n *node) {
	via := l.nearest(n)
	if via == nil {
		return
	}
	index := uint64(len(l.views) - 1)
	l.w.net.send(via, n, often, "feed", func() { n.hear(index) })
}

// nearest is a server by which a node can follow the leader.
func (l *log) nearest(n *node) *node {
	if l.leader == nil || !l.leads(l.leader) {
		return nil
	}
	for _, v := range l.voters {
		if v.alive() && l.w.net.joined(l.leader.at, v) && l.w.net.joined(v, n) {
			return v
		}
	}
	return nil
}

// refusedOr shows what a command came to.
func show(c state.Command, r state.Result) string {
	if r.OK {
		return fmt.Sprintf("%s %+v", c.Kind(), c)
	}
	return fmt.Sprintf("%s %+v REFUSED: %s", c.Kind(), c, r.Reason)
}

func contains(nodes []*node, n *node) bool {
	for _, x := range nodes {
		if x == n {
			return true
		}
	}
	return false
}
