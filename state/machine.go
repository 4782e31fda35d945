package state

import (
	"fmt"
	"maps"
	"net/netip"
	"time"
)

// A Machine decides placement. It is deterministic, and not safe for concurrent use; the views that it
// gives are.
type Machine struct {
	t tables
	// shared says that a view has t's maps: they are cloned before the next write.
	shared bool
	// seen finds the outcomes in t by the ID of their proposal.
	seen map[string]outcome
}

// tables is the whole state. The maps and the records in them are never modified once a view shares them;
// the slices are only appended to and cut at the front, so views share those as they are.
type tables struct {
	index        uint64
	podCIDR      netip.Prefix
	meshID       string
	reign        Reign
	longestLease time.Duration
	nodes        map[string]Node
	pods         map[string]Pod
	migrations   map[string]Migration
	volumes      map[string]Volume
	tokens       map[string]Token
	enrolments   map[string]Enrolment
	finished     []string  // IDs of finished migrations, oldest first
	outcomes     []outcome // of the latest proposals, oldest first
}

// New returns a machine that knows nothing.
func New() *Machine {
	return &Machine{
		t: tables{
			nodes:      map[string]Node{},
			pods:       map[string]Pod{},
			migrations: map[string]Migration{},
			volumes:    map[string]Volume{},
			tokens:     map[string]Token{},
			enrolments: map[string]Enrolment{},
		},
		seen: map[string]outcome{},
	}
}

// Apply carries a command out, or refuses it and changes nothing.
func (m *Machine) Apply(c Command) Result {
	m.t.index++
	return c.apply(m)
}

// View returns the state as it is now. It costs nothing; the next change copies the maps.
func (m *Machine) View() View {
	m.shared = true
	return View{t: m.t}
}

// won answers a command about a pod and a migration, either of which may be "".
func (m *Machine) won(pod, migration string) Result {
	r := Result{OK: true}
	if p, ok := m.t.pods[pod]; ok {
		r.Pod = &p
	}
	if g, ok := m.t.migrations[migration]; ok {
		r.Migration = &g
	}
	return r
}

// lost refuses a command about a pod and a migration, either of which may be "".
func (m *Machine) lost(pod, migration, format string, args ...any) Result {
	r := m.won(pod, migration)
	r.OK, r.Reason = false, fmt.Sprintf(format, args...)
	return r
}

func (m *Machine) podByUID(uid string) (Pod, bool) {
	for _, pod := range m.t.pods {
		if pod.UID == uid {
			return pod, true
		}
	}
	return Pod{}, false
}

// migrationTo returns the migration if node is its target, else why not.
func (m *Machine) migrationTo(id, node string) (g Migration, reason string) {
	g, ok := m.t.migrations[id]
	if !ok {
		return g, "there is no migration " + id
	}
	if g.Target != node {
		return g, fmt.Sprintf("%s is not to %s", g, node)
	}
	return g, ""
}

// finish closes a migration and forgets the oldest finished one if there are too many.
func (m *Machine) finish(g Migration, phase MigrationPhase, reason string) {
	g.Phase, g.Reason = phase, clip(reason, maxReason)
	m.putMigration(g)
	m.t.finished = append(m.t.finished, g.ID)
	if len(m.t.finished) > FinishedMigrations {
		delete(m.t.migrations, m.t.finished[0])
		m.t.finished = m.t.finished[1:]
	}
}

func (m *Machine) putNode(n Node)           { m.own(); m.t.nodes[n.Name] = n }
func (m *Machine) dropNode(name string)     { m.own(); delete(m.t.nodes, name) }
func (m *Machine) putPod(p Pod)             { m.own(); m.t.pods[p.Name] = p }
func (m *Machine) dropPod(name string)      { m.own(); delete(m.t.pods, name) }
func (m *Machine) putVolume(v Volume)       { m.own(); m.t.volumes[v.Name] = v }
func (m *Machine) dropVolume(name string)   { m.own(); delete(m.t.volumes, name) }
func (m *Machine) putMigration(g Migration) { m.own(); m.t.migrations[g.ID] = g }
func (m *Machine) putToken(t Token)         { m.own(); m.t.tokens[t.ID] = t }
func (m *Machine) dropToken(id string)      { m.own(); delete(m.t.tokens, id) }
func (m *Machine) putEnrolment(e Enrolment) { m.own(); m.t.enrolments[e.Node] = e }
func (m *Machine) dropEnrolment(n string)   { m.own(); delete(m.t.enrolments, n) }

// own makes the maps the machine's alone.
func (m *Machine) own() {
	if !m.shared {
		return
	}
	m.t.nodes = maps.Clone(m.t.nodes)
	m.t.pods = maps.Clone(m.t.pods)
	m.t.migrations = maps.Clone(m.t.migrations)
	m.t.volumes = maps.Clone(m.t.volumes)
	m.t.tokens = maps.Clone(m.t.tokens)
	m.t.enrolments = maps.Clone(m.t.enrolments)
	m.shared = false
}
