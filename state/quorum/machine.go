package quorum

import (
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/drover-mesh/drover/state"
)

// machine is the state machine as Raft sees it (raft.FSM), and tells watchers what Raft does to it.
type machine struct {
	mu       sync.Mutex
	state    *state.Machine
	watchers map[chan struct{}]struct{}
}

func newMachine() *machine {
	return &machine{state: state.New(), watchers: map[chan struct{}]struct{}{}}
}

func (m *machine) view() state.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.View()
}

// applied is what Apply returns to the leader's proposer.
type applied struct {
	result state.Result
	index  uint64 // of the view that has it
}

// Apply implements raft.FSM. Leaders let nothing into the log that they can't decode, so an entry that this
// node can't decode is a newer node's. To skip it would be to disagree with the others about who owns what,
// and that is worse than to stop: pods go on without an agent.
func (m *machine) Apply(entry *raft.Log) any {
	id, command, err := state.Decode(entry.Data)
	if err != nil {
		panic(fmt.Sprintf("drover: entry %d of the mesh's log is not understood: %v; this agent is older than the mesh: upgrade it", entry.Index, err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	result := m.state.ApplyOnce(id, command)
	m.notify()
	return applied{result, m.state.View().Index()}
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
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = fresh
	m.notify()
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
