package sim

import (
	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// count notes what of interest is committed.
func (w *world) count(c state.Command, r state.Result) {
	switch c := c.(type) {
	case state.Abort:
		if r.OK {
			w.seen.add(abortWon)
		} else if r.Migration != nil && r.Migration.Phase == state.Activated {
			w.seen.add(activateWon)
		}
	case state.Complete:
		if r.OK {
			w.seen.add(moved)
		}
	case state.Return:
		if r.OK {
			w.seen.add(returned)
		}
	case state.StartOver:
		if r.OK {
			w.seen.add(startedOver)
		}
	case state.Failover:
		w.countFailover(r, c.Term)
		if r.OK {
			w.seen.add(failedOver)
		}
	case state.AbortAndFailover:
		w.countFailover(r, c.Term)
		if r.OK {
			w.seen.add(failedOverMove)
		}
		if r.OK && r.Pod != nil && r.Pod.Origin != nil && r.Pod.Origin.Kind == state.OriginFrozen {
			w.seen.add(revived)
		}
	}
}

func (w *world) countFailover(r state.Result, term uint64) {
	if !r.OK && w.log.view().Reign().Term != term {
		w.seen.add(refusedFailover)
	}
}

// froze remembers what a pod was when it was frozen for a move.
func (w *world) froze(m decide.Move, c *copied) { w.frozen[m.ID] = c.memory }

// restored compares that with what a target has restored.
func (w *world) restored(m decide.Move, image *checkpoint) {
	if was := w.frozen[m.ID]; was != image.memory {
		w.violated(ruleDigest, "move %s of %s: it was frozen with %s, and restored with %s", m.ID, m.Pod, was, image.memory)
	}
}

// retired makes sure that nobody needs a frozen copy any more that was destroyed.
func (w *world) retired(m decide.Move) {
	if g, ok := w.log.view().Migration(m.ID); ok && g.Phase.Open() {
		w.violated(ruleRetired, "the source of move %s has destroyed the frozen copy of %s, and the move is %s", m.ID, m.Pod, g.Phase)
	}
}

// finished follows the ends of moves.
func (w *world) finished(x *mover, f decide.Finish) {
	w.d.trace.note("%s is over: %s %s", x.file, f.Outcome, f.Why)
}

// report is what people are told of a pod of which nothing is left.
func (w *world) report(pod state.Pod, _ string) { w.reported[pod.UID] = true }

// bear begins a life of a pod.
func (w *world) bear(pod state.Pod, why birth, h *host) *life {
	if why == bornOfReboot && h.boots == 0 {
		w.violated(ruleLost, "%s is started anew at %s, which was never down", pod.Name, h.name)
	}
	return &life{birth: why, epoch: pod.Epoch}
}
