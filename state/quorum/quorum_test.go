package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

func TestEveryNodeProposesAndLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2*time.Millisecond, quick(), servers...)
		m.found(m.leader(servers...))
		for i, node := range servers {
			id := fmt.Sprintf("m-%d", i)
			r := m.propose(node, state.Reserve{Migration: id, Pod: "redis", Source: "ams", Target: "fra"})
			require.True(t, r.OK, r.Reason)
			require.JSONEq(t, `{"a":"<&>"}`, string(r.Pod.Manifest))
			r = m.propose(node, state.Abort{Migration: id, Reason: "test"})
			require.True(t, r.OK, r.Reason)
		}
		for _, node := range servers {
			require.NoError(t, m.nodes[node].Sync(m.ctx()))
			require.Len(t, m.nodes[node].View().Migrations(), 3)
			pod, ok := m.nodes[node].View().Pod("redis")
			require.True(t, ok)
			require.Equal(t, `{"a":"<&>"}`, string(pod.Manifest))
		}
	})
}

func TestARefusalIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), servers...)
		m.leader(servers...)
		for _, node := range servers {
			r := m.propose(node, state.Reserve{Migration: "m-1", Pod: "nginx", Source: "ams", Target: "fra"})
			require.False(t, r.OK)
			require.Equal(t, "there is no pod nginx", r.Reason)
		}
	})
}

func TestTheLeaderIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		m.kill(leader)
		left := others(leader)
		// Proposed while nobody leads: it waits for the election.
		r := m.propose(left[0], state.Reserve{Migration: "m-1", Pod: "redis", Source: "ams", Target: "fra"})
		require.True(t, r.OK, r.Reason)

		// The killed one comes back from its disk, and hears what it missed.
		q := m.open(leader)
		require.NoError(t, q.Sync(m.ctx()))
		g, ok := q.View().Migration("m-1")
		require.True(t, ok)
		require.Equal(t, state.Reserved, g.Phase)
	})
}

func TestALeaderWithoutMajorityCommitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		require.True(t, m.propose(leader, state.Reserve{Migration: "m-1", Pod: "redis", Source: "ams", Target: "fra"}).OK)

		m.net.isolate(leader, servers, true)
		ctx, cancel := context.WithTimeout(m.ctx(), 800*time.Millisecond)
		defer cancel()
		_, err := m.nodes[leader].Propose(ctx, state.Activate{Migration: "m-1", Node: "fra", Epoch: 2})
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrNotProposed, "it entered the old leader's log, so its outcome is unknown")
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// The majority goes on without it and aborts.
		left := others(leader)
		m.leader(left...)
		require.True(t, m.propose(left[1], state.Abort{Migration: "m-1", Reason: "cut"}).OK)

		// Healed, the old leader takes the others' word: its own entry is gone.
		m.net.isolate(leader, servers, false)
		require.NoError(t, m.nodes[leader].Sync(m.ctx()))
		r := m.propose(leader, state.Activate{Migration: "m-1", Node: "fra", Epoch: 2})
		require.False(t, r.OK)
		require.Equal(t, state.Aborted, r.Migration.Phase)
	})
}

func TestAProposalTravelsByWayOfAThirdServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, steady(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		source := others(leader)[0]
		relay := others(leader, source)[0]

		// A cut link hangs; nothing tells the source. It must get its Abort through all the same. With this cut the
		// source wants an election, and pre-vote keeps it from disturbing the others: the leader stays.
		m.net.set(source, leader, true)
		for i := range 3 {
			id := fmt.Sprintf("m-%d", i)
			require.True(t, m.propose(relay, state.Reserve{Migration: id, Pod: "redis", Source: "ams", Target: "fra"}).OK)
			start := time.Now()
			r := m.propose(source, state.Abort{Migration: id, Reason: "no answer"})
			require.True(t, r.OK, r.Reason)
			t.Logf("by way of %s: %v", relay, time.Since(start))
		}
		require.Equal(t, leader, m.leader(leader, relay))
		m.net.set(source, leader, false)
		require.NoError(t, m.nodes[source].Sync(m.ctx()))
		require.Len(t, m.nodes[source].View().Migrations(), 3)
	})
}

func TestSurelyNotProposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		patient := quick()
		patient.retry = time.Hour          // so that the context ends between two attempts
		m := newMesh(t, 0, patient, "ams") // one of three: there will never be a leader
		ctx, cancel := context.WithTimeout(m.ctx(), 200*time.Millisecond)
		defer cancel()
		_, err := m.nodes["ams"].Propose(ctx, state.ForgetNode{Name: "syd"})
		require.ErrorIs(t, err, ErrNotProposed)
		require.ErrorIs(t, m.nodes["ams"].Sync(ctx), ErrNotProposed)

		_, err = m.nodes["ams"].Propose(ctx, state.ForgetNode{Name: "syd"})
		require.ErrorIs(t, err, ErrNotProposed, "ctx had ended before")
		_, err = m.nodes["ams"].Propose(m.ctx(), state.CreatePod{Manifest: make([]byte, state.MaxCommand)})
		require.ErrorIs(t, err, ErrNotProposed)
	})
}

func TestCloseHandsLeadershipOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// With these time-outs an election by silence would take longer.
		slow := quick()
		slow.heartbeat, slow.election, slow.lease = 2*time.Second, 2*time.Second, time.Second
		m := newMesh(t, time.Millisecond, slow, servers...)
		leader := m.leader(servers...)
		m.found(leader)
		m.stop(leader)
		start := time.Now()
		left := others(leader)
		m.leader(left...)
		require.Less(t, time.Since(start), slow.heartbeat, "somebody had to wait for silence")
		require.True(t, m.propose(left[0], state.MarkDeleting{Name: "redis"}).OK)
	})
}

func TestCloseEndsProposals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), "ams")
		q := m.nodes["ams"]
		errs := make(chan error, 8)
		var started sync.WaitGroup
		for range cap(errs) {
			started.Add(1)
			go func() {
				started.Done()
				_, err := q.Propose(m.ctx(), state.ForgetNode{Name: "syd"})
				errs <- err
			}()
		}
		started.Wait()
		m.stop("ams")
		for range cap(errs) {
			require.ErrorIs(t, <-errs, errClosed)
		}
		require.NoError(t, q.Close(), "twice is once")
		_, err := q.Propose(m.ctx(), state.ForgetNode{Name: "syd"})
		require.ErrorIs(t, err, errClosed)
		_, err = q.Await(m.ctx(), func(state.View) bool { return false })
		require.ErrorIs(t, err, errClosed)
		require.Equal(t, "closed", q.Status().Role)
	})
}

func TestAllRestartFromDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), servers...)
		m.found(m.leader(servers...))
		// Enough for snapshots of their own accord would take a thousand commands: ask for one.
		require.NoError(t, m.nodes["fra"].Sync(m.ctx()))
		require.Eventually(t, func() bool { return m.nodes["fra"].seat.Load().raft.Snapshot().Error() == nil }, 10*time.Second, 10*time.Millisecond,
			"fra has applied what it has heard")
		require.True(t, m.propose("ams", state.Reserve{Migration: "m-1", Pod: "redis", Source: "ams", Target: "fra"}).OK)
		for _, node := range servers {
			m.kill(node)
		}
		for _, node := range servers {
			m.open(node)
		}
		for _, node := range servers {
			require.NoError(t, m.nodes[node].Sync(m.ctx()))
			v := m.nodes[node].View()
			require.Len(t, v.Nodes(), 3)
			require.Len(t, v.Duties("ams"), 1)
			require.Equal(t, state.MoveOut, v.Duties("ams")[0].Role)
		}
	})
}

func TestWatchIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), servers...)
		leader := m.leader(servers...)
		require.NoError(t, m.nodes[leader].Sync(m.ctx()))
		ctx, cancel := context.WithCancel(m.ctx())
		changed := m.nodes[leader].Watch(ctx)
		m.found(leader)
		require.NoError(t, m.nodes[leader].Sync(m.ctx()))
		<-changed // the first and five changes
		select {
		case <-changed:
			t.Error("a second message for what was to be seen at the first")
		default:
		}
		m.propose(leader, state.MarkDeleting{Name: "redis"})
		<-changed
		cancel()
		require.Eventually(t, func() bool {
			q := m.nodes[leader]
			q.board.bell.mu.Lock()
			defer q.board.bell.mu.Unlock()
			for w := range q.board.watchers {
				if w == changed {
					return false
				}
			}
			return true
		}, 5*time.Second, time.Millisecond, "the watcher was forgotten")
	})
}

func TestHandleForwardRefusesWhatIsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), servers...)
		leader := m.nodes[m.leader(servers...)]
		require.NoError(t, leader.Sync(m.ctx()))
		before := leader.View().Index()
		for _, data := range []string{
			``, `null`, `{}`, `{"barrier":false}`, `{"command":"e30="}`, `{"command":"!"}`, `{"barrier":true,"leave":"syd"}`,
			`{"barrier":true}{}`, `{"sudo":true}`, "\x00",
		} {
			_, err := leader.HandleForward(m.ctx(), []byte(data))
			require.Error(t, err, "%q", data)
		}
		require.NoError(t, leader.Sync(m.ctx()))
		require.Equal(t, before, leader.View().Index(), "something entered the log")
	})
}

func TestOpenRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := emptyMesh(t, 0, quick(), "ams")
		good := m.config("ams")
		for name, spoil := range map[string]func(*Config){
			"no node":    func(c *Config) { c.Node = "" },
			"no servers": func(c *Config) { c.Bootstrap = nil },
			"twice":      func(c *Config) { c.Bootstrap = []Server{{"ams"}, {"ams"}} },
			"no streams": func(c *Config) { c.Dial = nil },
			"no dir":     func(c *Config) { c.Dir = "/dev/null/x" },
		} {
			cfg := good
			spoil(&cfg)
			_, err := Open(context.Background(), cfg)
			require.Error(t, err, name)
		}
	})
}

func TestUnknownIsNotNo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := fmt.Errorf("x: %w", ErrNotProposed)
		require.ErrorIs(t, err, ErrNotProposed)
		// One way that surely failed and one that is unknown is unknown.
		m := newMesh(t, 0, quick(), servers...)
		leader := m.leader(servers...)
		node := others(leader)[0]
		m.nodes[node].cfg.Forward = func(_ context.Context, to string, _ []byte) ([]byte, error) {
			if to == leader {
				return nil, errors.New("the connection was lost after the request was sent")
			}
			return nil, fmt.Errorf("connection refused: %w", ErrNotProposed)
		}
		ctx, cancel := context.WithTimeout(m.ctx(), 100*time.Millisecond)
		defer cancel()
		_, err = m.nodes[node].Propose(ctx, state.ForgetNode{Name: "syd"})
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrNotProposed)
	})
}

func TestTwoAgentsCannotShareADirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), "ams")
		_, err := Open(m.ctx(), m.config("ams"))
		require.ErrorContains(t, err, "another agent")
	})
}
