package sim

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// A ring is hashicorp/raft on some servers in memory, each with the state machine of package state, under virtual time.
type ring struct {
	t          *testing.T
	begun      time.Time
	chance     *rand.Rand
	names      []string
	rafts      []*raft.Raft
	transports []*raft.InmemTransport
	machines   []*recorder
	requests   sync.WaitGroup

	mu    sync.Mutex
	asked []*asked
}

// A recorder is a state machine that remembers what was applied to it.
type recorder struct {
	ring    *ring
	mu      sync.Mutex
	machine *state.Machine
	log     []logged
}

func (m *recorder) Apply(l *raft.Log) any {
	id, c, err := state.Decode(l.Data)
	if err != nil {
		panic(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.machine.ApplyOnce(id, c)
	m.log = append(m.log, logged{id, r.OK, l.Term, m.ring.now()})
	return r
}

func (m *recorder) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshots") }
func (m *recorder) Restore(io.ReadCloser) error         { return errors.New("no snapshots") }

func newRing(t *testing.T, seed uint64) *ring {
	r := &ring{t: t, begun: time.Now(), chance: rand.New(rand.NewPCG(seed, 2)), names: []string{"ams", "fra", "nyc"}}
	var members raft.Configuration
	for _, name := range r.names {
		addr, transport := raft.NewInmemTransportWithTimeout(raft.ServerAddress(name), 100*time.Millisecond)
		r.transports = append(r.transports, transport)
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(name), Address: addr})
	}
	r.heal()
	for i, name := range r.names {
		config := raft.DefaultConfig()
		config.LocalID, config.LogOutput = raft.ServerID(name), io.Discard
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
		store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		require.NoError(t, raft.BootstrapCluster(config, store, store, snapshots, r.transports[i], members))
		m := &recorder{ring: r, machine: state.New()}
		node, err := raft.NewRaft(config, m, store, store, snapshots, r.transports[i])
		require.NoError(t, err)
		r.machines, r.rafts = append(r.machines, m), append(r.rafts, node)
	}
	return r
}

func (r *ring) now() time.Duration { return time.Since(r.begun) }

func (r *ring) heal() {
	for i, a := range r.transports {
		for k, b := range r.transports {
			if i != k {
				a.Connect(raft.ServerAddress(r.names[k]), b)
			}
		}
	}
}

func (r *ring) isolate(i int) {
	for k := range r.transports {
		if i != k {
			r.transports[i].Disconnect(raft.ServerAddress(r.names[k]))
			r.transports[k].Disconnect(raft.ServerAddress(r.names[i]))
		}
	}
}

// leader is one that takes itself for it.
func (r *ring) leader() int {
	first := r.chance.IntN(len(r.rafts))
	for k := range r.rafts {
		if i := (first + k) % len(r.rafts); r.rafts[i].State() == raft.Leader {
			return i
		}
	}
	return -1
}

// ask proposes at a server that leads, or has led, again and again until there is an answer or patience ends.
func (r *ring) ask(id string, c state.Command, patience time.Duration) {
	data, err := state.Encode(id, c)
	require.NoError(r.t, err)
	a := &asked{id: id, command: c, from: r.now()}
	r.asked = append(r.asked, a)
	ways := make([]int, 0, 64)
	for range cap(ways) {
		ways = append(ways, r.chance.IntN(len(r.rafts)))
	}
	r.requests.Go(func() {
		deadline := time.NewTimer(patience)
		defer deadline.Stop()
		answers := make(chan bool, len(ways))
		for _, i := range ways {
			if r.rafts[i].State() == raft.Leader {
				r.requests.Go(func() {
					if future := r.rafts[i].Apply(data, time.Second); future.Error() == nil {
						answers <- future.Response().(state.Result).OK
					}
				})
			}
			again := time.NewTimer(150 * time.Millisecond)
			select {
			case ok := <-answers:
				again.Stop()
				r.mu.Lock()
				a.to, a.answered, a.ok = r.now(), true, ok
				r.mu.Unlock()
				return
			case <-deadline.C:
				again.Stop()
				r.mu.Lock()
				a.to = r.now()
				r.mu.Unlock()
				return
			case <-again.C:
			}
		}
	})
}

func (r *ring) pause(a, b time.Duration) {
	<-time.After(a + time.Duration(r.chance.Int64N(int64(b-a)+1)))
}

// ofRaft lets hashicorp/raft serve races under faults.
func ofRaft(t *testing.T, seed uint64) *history {
	r := newRing(t, seed)
	for r.leader() < 0 {
		r.pause(50*time.Millisecond, 50*time.Millisecond)
	}
	for i, c := range setting(r.names) {
		data, err := state.Encode(fmt.Sprintf("set-%d", i), c)
		require.NoError(t, err)
		require.NoError(t, r.rafts[r.leader()].Apply(data, time.Second).Error())
	}
	for i := range races {
		r.pause(0, 500*time.Millisecond)
		cut := r.chance.IntN(2) == 0
		if cut {
			r.isolate(r.chance.IntN(len(r.names)))
			if leader := r.leader(); r.chance.IntN(2) == 0 && leader >= 0 {
				r.isolate(leader)
			}
		}
		activate, abort := race(i, r.names)
		r.ask(fmt.Sprintf("activate-%d", i), activate, 100*time.Millisecond+time.Duration(r.chance.Int64N(int64(2*time.Second))))
		r.pause(0, 100*time.Millisecond)
		r.ask(fmt.Sprintf("abort-%d", i), abort, 100*time.Millisecond+time.Duration(r.chance.Int64N(int64(2*time.Second))))
		r.pause(0, 2*time.Second)
		if r.chance.IntN(2) == 0 {
			r.heal()
		}
	}
	lag := r.chance.IntN(2 * len(r.names)) // as the end comes, somebody may not have heard of all
	r.heal()
	if lag < len(r.names) {
		r.pause(time.Second, time.Second)
		r.isolate(lag)
		if leader := r.leader(); leader >= 0 && leader != lag {
			r.ask("last", state.RegisterNode{Node: state.Node{Name: "last", Site: "last"}}, 300*time.Millisecond)
		}
	}
	r.pause(2*time.Second, 2*time.Second)
	r.requests.Wait()
	h := &history{asked: r.asked}
	for _, m := range r.machines {
		m.mu.Lock()
		h.nodes = append(h.nodes, append([]logged(nil), m.log...))
		m.mu.Unlock()
	}
	for _, node := range r.rafts {
		require.NoError(t, node.Shutdown().Error())
	}
	return h
}

// TestTheLogIsRafts has hashicorp/raft serve the same races as the model: it keeps the rules that the model keeps, so the
// model allows nothing less, and it does all that the model does, so the model doesn't frighten without reason.
func TestTheLogIsRafts(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 10
	}
	count := map[string]int{}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			h := ofRaft(t, seed)
			require.NoError(t, h.check(), "seed %d", seed)
			h.features(count)
		})
	}
	t.Log(count)
	for _, what := range allowed {
		require.Positive(t, count[what], "hashicorp/raft never shows: %s", what)
	}
}
