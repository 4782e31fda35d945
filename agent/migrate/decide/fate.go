package decide

import "github.com/drover-mesh/drover/state"

// fate is what becomes of what a node has of the pod, as the mesh has committed it.
type fate int

const (
	undecided fate = iota // the move is open: nobody may touch it yet; or the target owns it
	left                  // it is of a later life

	untouched // the source never froze the pod
	thawed    // the source owns the pod, and nothing has run since the freeze
	revived   // the source owns the pod, which may have run elsewhere since
	retired   // the pod is another's

	discarded // the target does not own the pod, and never ran it
	destroyed // the pod is another's, and may have run at the target
)

// atSource reads from a committed answer what becomes of the source's copy. With undecided it names the later move that
// has to end first, "" if it is this one.
func (m Move) atSource(r state.Result, frozen bool) (f fate, later string) {
	switch pod := m.pod(r); {
	case phase(r).Open():
		return undecided, ""
	case phase(r) == state.Aborted && !frozen:
		return untouched, ""
	case pod.Migration != "" && pod.Migration != m.ID: // what is here may be that one's
		return undecided, pod.Migration
	case m.mayThaw(r):
		return thawed, ""
	case m.mayRevive(r):
		return revived, ""
	case m.mayRetire(r):
		return retired, ""
	}
	return left, ""
}

// mayThaw: the Abort has won, or the target's Return, and the pod is still in the life that this has left it.
func (m Move) mayThaw(r state.Result) bool {
	pod := m.pod(r)
	switch phase(r) {
	case state.Aborted:
		return pod.Node == m.Source && pod.Epoch == m.Epoch-1
	case state.Returned, "": // forgotten: no copy can have come to the frozen one but by its return
		return pod.Node == m.Source && pod.Epoch == m.Epoch+1 && !m.mayRevive(r)
	}
	return false
}

// mayRevive: the target was given up, and the pod's present life begins from the copy that the source has kept frozen.
func (m Move) mayRevive(r state.Result) bool {
	pod := m.pod(r)
	o := pod.Origin
	return pod.Node == m.Source && o != nil && o.Kind == state.OriginFrozen && o.Move == m.ID && o.Epoch == pod.Epoch
}

// mayRetire: the move is over, and the pod another's. While it is open the frozen copy may be needed again.
func (m Move) mayRetire(r state.Result) bool { return !phase(r).Open() && m.pod(r).Node != m.Source }

// atTarget reads from a committed answer what becomes of what the target has. mayRan says that the pod may have run
// there: who gives it back knows that it has not, who was given up may not.
func (m Move) atTarget(r state.Result, mayRan bool) fate {
	switch at := phase(r); {
	case at.Open():
		return undecided
	case at == state.Done, m.pod(r).Node == m.Target:
		return left
	case mayRan && (at == state.FailedOver || at == ""):
		return destroyed
	}
	return discarded
}
