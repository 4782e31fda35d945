package quorum

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/drover-mesh/drover/state"
)

// An Outcome is what one command of a failover came to.
type Outcome struct {
	Command state.Command
	Result  state.Result
	// Err says that there is no answer: this server leads no more. The command may have been applied.
	Err error
}

// Lost returns, by name, the nodes that have to hold a lease and have not renewed theirs for so long that nothing which it allowed
// can run. Only the leader knows of any. To ask costs no call.
func (q *Quorum) Lost() []string {
	if s := q.seat.Load(); s != nil {
		return s.regent.lost()
	}
	return nil
}

// FailOver gives up the nodes that are lost, has decide say what becomes of their pods (see state.Failovers), and commits that. It
// does nothing, and doesn't call decide, on a node that doesn't lead, or if no node is lost: whoever leads calls it every now
// and then, say twice a second.
//
// A node that was given up gets no lease before all commands have been answered. If one isn't, because this server was deposed,
// it gets none of this server's, and the command changes nothing once the next leader reigns. All that decide returns must be
// Failover and AbortAndFailover of the term that it was given: the mesh takes these from no one but the leader, by this way.
func (q *Quorum) FailOver(decide func(state.View, state.Loss) []state.Command) []Outcome {
	if s := q.seat.Load(); s != nil {
		return s.regent.failOver(decide)
	}
	return nil
}

func (r *regent) failOver(decide func(state.View, state.Loss) []state.Command) []Outcome {
	r.failing.Lock()
	defer r.failing.Unlock()
	v := r.machine.view()
	r.mu.Lock()
	loss := state.Loss{Nodes: r.grants.GiveUp(v.LeaseHolders(), time.Now()), Term: r.grants.Term(), At: time.Now()}
	r.mu.Unlock()
	if len(loss.Nodes) == 0 {
		return nil
	}
	commands := decide(v, loss)
	outcomes := make([]Outcome, len(commands))
	var all sync.WaitGroup
	for i, c := range commands {
		all.Go(func() {
			outcomes[i] = Outcome{Command: c}
			if outcomes[i].Err = ofReign(c, loss.Term); outcomes[i].Err == nil {
				outcomes[i].Result, outcomes[i].Err = r.apply(c)
			}
		})
	}
	all.Wait()
	for _, o := range outcomes {
		if o.Err != nil && !errors.Is(o.Err, ErrNotProposed) {
			return outcomes // it may be applied yet: no lease before the next reign
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants.Readmit(loss.Term, loss.Nodes)
	return outcomes
}

// ofReign makes sure that a command is one of a failover, and of that term.
func ofReign(c state.Command, term uint64) error {
	var has uint64
	switch c := c.(type) {
	case state.Failover:
		has = c.Term
	case state.AbortAndFailover:
		has = c.Term
	default:
		return notProposed(fmt.Errorf("%s gives no pod of a lost node away", c.Kind()))
	}
	if has != term {
		return notProposed(fmt.Errorf("it is of term %d, and this reign of %d", has, term))
	}
	return nil
}

// leadersOwn says why a command may not be proposed: only the leader itself commits it, as one of its reign.
func leadersOwn(c state.Command) error {
	switch c.Kind() {
	case state.KindReign, state.KindFailover, state.KindAbortAndFailover:
		return fmt.Errorf("%s is the leader's alone, see FailOver", c.Kind())
	}
	return nil
}
