package decide

import "github.com/drover-mesh/drover/state"

// A Move is what both machines know of it from its start.
type Move struct {
	ID  string
	Pod string // its name
	UID string
	// Epoch is the one that Activate gives to the pod: its last one and one more.
	Epoch  uint64
	Source string
	Target string
	// Leased says that others may take the pod over: it is let run only under a lease of the node's own, see [Lease].
	Leased bool
}

func (m Move) reserve() state.Command {
	return state.Reserve{Migration: m.ID, Pod: m.Pod, Source: m.Source, Target: m.Target, Epoch: m.Epoch - 1}
}

// abort ends the move, even if its Reserve has not come yet.
func (m Move) abort(why string) state.Command {
	return state.Abort{Migration: m.ID, UID: m.UID, Epoch: m.Epoch, Reason: why}
}

func (m Move) activate() state.Command {
	return state.Activate{Migration: m.ID, Node: m.Target, Epoch: m.Epoch}
}

func (m Move) complete() state.Command {
	return state.Complete{Migration: m.ID, Node: m.Target}
}

// giveBack returns the pod, which may have run at the target. Who proposes it says when that was.
func (m Move) giveBack(why string, ran bool) state.Command {
	return state.Return{Migration: m.ID, Node: m.Target, Reason: why, Ran: ran}
}

// phase reads the phase of the move from an answer, "" if the mesh has forgotten it. Then it is over, and was not
// aborted while its pod was where it began: such an Abort wins.
func phase(r state.Result) state.MigrationPhase {
	if r.Migration == nil {
		return ""
	}
	return r.Migration.Phase
}

// pod is the pod of an answer, if it is the move's; the zero Pod if that is gone.
func (m Move) pod(r state.Result) state.Pod {
	if r.Pod == nil || r.Pod.UID != m.UID {
		return state.Pod{}
	}
	return *r.Pod
}
