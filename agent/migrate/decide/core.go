package decide

import (
	"slices"
	"time"

	"github.com/drover-mesh/drover/state"
)

// core is what both machines are made of: what was recorded, the proposal and the step under way, the lease.
type core struct {
	move    Move
	begun   bool
	journal []Step // that stand there
	out     []Action

	writing Step // is being recorded, "" if none
	busy    Step // is being done, "" if none
	again   Step // failed and is done, or recorded, again when TryAgain fires; "" if none
	failed  int  // how often in a row

	asks   uint64
	asked  state.Command // nil if no answer is expected
	unsure int           // how often in a row it came to nothing that is known

	leased bool
}

func (c *core) emit(a Action) { c.out = append(c.out, a) }

// take returns what has been emitted.
func (c *core) take() []Action {
	out := c.out
	c.out = nil
	return out
}

func (c *core) has(s Step) bool { return slices.Contains(c.journal, s) }

// record begins a step: it stands in the journal before anything of it is done, so that an agent that comes after
// knows what it may find.
func (c *core) record(s Step) {
	c.writing, c.again = s, ""
	c.emit(Record{s})
}

// recorded says whether s is what was to be recorded.
func (c *core) recorded(s Step) bool {
	if s == "" || c.writing != s {
		return false
	}
	c.writing, c.failed = "", 0
	if !c.has(s) {
		c.journal = append(c.journal, s)
	}
	return true
}

// unwritten says whether s is what was to be recorded and can't be.
func (c *core) unwritten(s Step) bool {
	if s == "" || c.writing != s {
		return false
	}
	c.writing = ""
	return true
}

func (c *core) do(s Step) {
	c.busy, c.again = s, ""
	c.emit(Do{s})
}

// ended says whether s was being done.
func (c *core) ended(s Step) bool {
	if s == "" || c.busy != s {
		return false
	}
	c.busy = ""
	return true
}

// tryAgain does a step again, or records it again, after a while: it can't be given up.
func (c *core) tryAgain(s Step) {
	c.again = s
	c.emit(SetTimer{TryAgain, backOff(c.failed)})
	c.failed++
}

// ask proposes a command. What was asked before is of no interest any more, nor is its answer.
func (c *core) ask(command state.Command) {
	c.asks++
	c.asked = command
	c.emit(Propose{c.asks, command})
}

// answer returns what an answer is to, nil if it is not to what was asked last. Twice is once.
func (c *core) answer(ask uint64) state.Command {
	if ask != c.asks {
		return nil
	}
	command := c.asked
	c.asked, c.unsure = nil, 0
	return command
}

// unknown is not no: the command may have been applied, or may be later. So it is proposed again until it is answered.
func (c *core) unknown(ask uint64) {
	if c.asked == nil || ask != c.asks {
		return
	}
	c.emit(SetTimer{AskAgain, backOff(c.unsure)})
	c.unsure++
}

// askAgain proposes again what came to nothing that is known.
func (c *core) askAgain() {
	if c.asked != nil && c.unsure > 0 {
		c.ask(c.asked)
	}
}

// mayRun says whether this node may let the pod run, as far as leases go.
func (c *core) mayRun() bool { return !c.move.Leased || c.leased }

func backOff(n int) time.Duration {
	return min(firstAgain<<min(n, 10), lastAgain)
}
