package state

// A Role is what a node has to do with a pod.
type Role string

// The roles of a node.
const (
	// Run: the node owns the pod and nothing else is going on. What it has of the pod counts only if [Pod.Continues] says so; a
	// pod whose origin is a frozen copy that is still frozen goes on from it.
	Run Role = "run"
	// MoveOut: the node owns the pod and is the source of an open migration. If the pod is frozen here it
	// stays so until the migration's end is known.
	MoveOut Role = "move-out"
	// MoveIn: the node is the target of a migration that is not activated; it must not run the pod.
	MoveIn Role = "move-in"
	// Resume: the node owns the pod through Activate and has not completed the move: it resumes the pod, or
	// returns it if it never did.
	Resume Role = "resume"
	// Keep: the node was the source of a migration that was activated. Its frozen copy is stale, and stays
	// frozen until the target has completed the move or returned the pod.
	Keep Role = "keep"
)

// A Duty is one pod that a node has to do with.
type Duty struct {
	Role Role
	Pod  Pod
	// Migration is the open one, nil for Run.
	Migration *Migration
}

// Duties returns all that a node has to do with, by the pods' names: what an agent that starts compares
// with what it finds on its host. Whatever it finds beyond this is not its own any more.
func (v View) Duties(node string) []Duty {
	var duties []Duty
	for _, pod := range v.Pods() {
		d := Duty{Pod: pod}
		if g, ok := v.Migration(pod.Migration); ok {
			d.Migration = &g
		}
		if d.Role = role(node, pod, d.Migration); d.Role != "" {
			duties = append(duties, d)
		}
	}
	return duties
}

func role(node string, pod Pod, g *Migration) Role {
	switch {
	case g == nil && pod.Node == node:
		return Run
	case g == nil:
		return ""
	case g.Phase == Reserved && g.Source == node:
		return MoveOut
	case g.Phase == Reserved && g.Target == node:
		return MoveIn
	case g.Phase == Activated && g.Target == node:
		return Resume
	case g.Phase == Activated && g.Source == node:
		return Keep
	}
	return ""
}
