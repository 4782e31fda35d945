package quorum

import (
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/drover-mesh/drover/state"
)

// machine is the state machine as Raft (raft.FSM), or the stream of a server, feeds it. What it does is shown on
// the board.
type machine struct {
	board *board

	mu    sync.Mutex
	state *state.Machine
	tail  tail
}

func newMachine(b *board) *machine { return &machine{board: b, state: state.New()} }

func (m *machine) view() state.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.View()
}

// after returns what was applied after at, see tail.
func (m *machine) after(at position) ([]entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tail.after(at)
}

func positionOf(v state.View) position { return position{v.Index(), v.Latest()} }

// applied is what Apply returns to the leader's proposer.
type applied struct {
	result state.Result
	index  uint64 // of the view that has it
}

// apply carries an encoded command out. An error means that this agent doesn't know it.
func (m *machine) apply(data []byte) (applied, error) {
	id, command, err := state.Decode(data)
	if err != nil {
		return applied{}, fmt.Errorf("%w; this agent is older than the mesh: upgrade it", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	result := m.state.ApplyOnce(id, command)
	v := m.state.View()
	m.tail.add(entry{positionOf(v), data})
	m.board.show(v)
	return applied{result, v.Index()}, nil
}

// set goes on with another state.
func (m *machine) set(s *state.Machine) state.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
	v := s.View()
	m.tail.reset(positionOf(v))
	return v
}

// Apply implements raft.FSM. Leaders let nothing into the log that they can't decode, so an entry that this
// node can't decode is a newer node's. To skip it would be to disagree with the others about who owns what,
// and that is worse than to stop: pods go on without an agent.
func (m *machine) Apply(log *raft.Log) any {
	a, err := m.apply(log.Data)
	if err != nil {
		panic(fmt.Sprintf("drover: entry %d of the mesh's log is not understood: %v", log.Index, err))
	}
	return a
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{m.view()}, nil
}

// Restore implements raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	fresh := state.New()
	if err := fresh.Restore(r); err != nil {
		return err
	}
	m.board.show(m.set(fresh))
	return nil
}

// snapshot is a view that Raft writes down while commands go on being applied.
type snapshot struct{ view state.View }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.view.Snapshot(sink); err != nil {
		_ = sink.Cancel() // the error that counts is the first
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}
