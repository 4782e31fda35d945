package migrate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/migrate/decide"
	"github.com/drover-mesh/drover/state"
)

// forgetAll ends so many other moves that the mesh forgets those before.
func (w *world) forgetAll(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	apply := func(c state.Command) {
		r := w.machine.Apply(c)
		require.True(t, r.OK, r.Reason)
	}
	apply(state.CreatePod{Name: "other", UID: "u2", Manifest: []byte(`{}`), Containers: []state.Container{{Name: "main", Layers: []state.Digest{"sha256:" + state.Digest(bytes.Repeat([]byte("b"), 64))}}}, Node: "ams"})
	for i := range state.FinishedMigrations + 1 {
		id := fmt.Sprintf("other-%d", i)
		apply(state.Reserve{Migration: id, Pod: "other", Source: "ams", Target: "fra"})
		apply(state.Abort{Migration: id})
	}
}

// TestForgottenMoves restarts agents when the mesh has forgotten the move that they were killed in.
func TestForgottenMoves(t *testing.T) {
	for _, point := range []string{"fra forget", "ams retire", "ams thaw", "fra discard"} {
		t.Run(point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start("ams")
				w.start("fra")
				defer w.drain()
				failing := point == "ams thaw" || point == "fra discard"
				w.suffer(func(w *world, p string, m moment) error {
					if failing && p == "fra wait restore" && m == before {
						return errFault
					}
					if p == point && m == before {
						w.hosts[p[:3]].agent.kill()
						return errFault
					}
					return nil
				})
				go func() { _ = w.move(context.Background(), func(Progress) {}) }()
				time.Sleep(time.Minute) // virtual
				w.suffer(func(*world, string, moment) error { return nil })
				w.forgetAll(t)
				w.revive(t)
				time.Sleep(5 * time.Minute) // virtual
				w.settled(t, point)
			})
		})
	}
}

// TestStaleJournals restarts agents that find the journals of a move long past, whose pod has come to them again or left.
func TestStaleJournals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		aborted := w.reserve(t)
		r, err := w.hosts["ams"].agent.Propose(t.Context(), state.Abort{Migration: aborted.ID})
		require.NoError(t, err)
		require.True(t, r.OK)
		require.NoError(t, w.move(context.Background(), func(Progress) {}))
		synctest.Wait()
		for name, role := range map[string]Role{"ams": AsSource, "fra": AsTarget} {
			j, err := createJournal(w.hosts[name].dir, role, aborted)
			require.NoError(t, err)
			require.NoError(t, j.Begin("freeze"))
			w.hosts[name].agent.kill()
		}
		w.revive(t)
		time.Sleep(time.Minute) // virtual
		w.settled(t, "stale journals")
	})
}

// TestOneLostTargetHoldsUpNothingElse recovers two moves, of which the first can't be settled.
func TestOneLostTargetHoldsUpNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start("ams")
		w.start("fra")
		defer w.drain()
		other := w.reserve(t)
		_, err := a.Propose(t.Context(), state.Abort{Migration: other.ID})
		require.NoError(t, err)
		open := w.reserve(t)
		_, err = a.Propose(t.Context(), state.Activate{Migration: open.ID, Node: "fra", Epoch: open.Epoch()})
		require.NoError(t, err)
		for _, p := range []Plan{open, other} {
			_, err := createJournal(a.host.dir, AsSource, p)
			require.NoError(t, err)
		}
		go func() { _ = Recover(a.life, a.config(), source{a}) }()
		time.Sleep(time.Second)
		left, err := os.ReadDir(a.host.dir)
		require.NoError(t, err)
		require.Len(t, left, 1)
		require.Equal(t, open.ID+".source", left[0].Name())
	})
}

func TestAbandonedArrivalIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fra := w.start("fra")
		w.start("ams")
		defer w.drain()
		p := w.reserve(t)
		require.NoError(t, fra.arrivals.Prepare(t.Context(), "ams", p))
		r, wr := io.Pipe()
		received := make(chan error)
		go func() { received <- fra.arrivals.Upper(t.Context(), "ams", p.ID, r) }()
		time.Sleep(3 * decide.Abandoned)
		require.True(t, fra.arrivals.Held(p.Pod.UID), "something is received")
		_, err := wr.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, wr.Close())
		require.NoError(t, <-received)
		time.Sleep(decide.Abandoned / 2)
		require.True(t, fra.arrivals.Held(p.Pod.UID))
		time.Sleep(2 * decide.Abandoned)
		require.False(t, fra.arrivals.Held(p.Pod.UID))
		w.settled(t, "decide.Abandoned")
	})
}

// TestSilentPeerDoesNotHoldUpTheEnd aborts a move while its source keeps a stream open and says nothing.
func TestSilentPeerDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fra := w.start("fra")
		a := w.start("ams")
		defer w.drain()
		p := w.reserve(t)
		require.NoError(t, fra.arrivals.Prepare(t.Context(), "ams", p))
		r, _ := io.Pipe()
		received, waited := make(chan error, 1), make(chan error, 1)
		go func() { received <- fra.arrivals.Image("ams", p.ID, "core-1.img", r) }()
		go func() {
			waited <- fra.arrivals.TakeOver("ams", p.ID, Manifest{Images: []File{{Name: "core-1.img"}}}, func(Milestone) {})
		}()
		synctest.Wait()
		_, err := a.Propose(t.Context(), state.Abort{Migration: p.ID})
		require.NoError(t, err)
		synctest.Wait()
		require.Error(t, <-received)
		require.Error(t, <-waited)
		require.False(t, fra.arrivals.Held(p.Pod.UID))
		w.settled(t, "silence")
	})
}

// TestAbortMeetsPrepare aborts a move while the target prepares: nothing of it may stay.
func TestAbortMeetsPrepare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fra := w.start("fra")
		a := w.start("ams")
		defer w.drain()
		p := w.reserve(t)
		meet := make(chan struct{})
		w.mu.Lock()
		w.fault = func(point string, when moment) error {
			if point == "fra prepare" && when == before {
				<-meet
			}
			return nil
		}
		w.mu.Unlock()
		prepared := make(chan error, 1)
		go func() { prepared <- fra.arrivals.Prepare(t.Context(), "ams", p) }()
		synctest.Wait()
		_, err := a.Propose(t.Context(), state.Abort{Migration: p.ID})
		require.NoError(t, err)
		synctest.Wait()
		close(meet)
		<-prepared
		synctest.Wait()
		w.settled(t, "abort during prepare")
	})
}

// TestTakeOverThatCannotBegin has no journal to write to, as on a full disk.
func TestTakeOverThatCannotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		fra := w.start("fra")
		defer w.drain()
		w.suffer(func(_ *world, p string, m moment) error {
			if p == "fra create image" && m == before {
				for _, x := range fra.arrivals.open {
					_ = x.driver.journal.file.Close()
				}
			}
			return nil
		})
		require.Error(t, w.move(context.Background(), func(Progress) {}))
		synctest.Wait()
		require.Empty(t, fra.arrivals.open)
		w.settled(t, "no journal")
	})
}

// TestRestoreThatHangs ends in the pod's return.
func TestRestoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		w.hosts["fra"].hangs = true
		require.ErrorContains(t, w.move(context.Background(), func(Progress) {}), "restoring: context deadline exceeded")
		synctest.Wait()
		w.settled(t, "a hanging restore")
	})
}

func TestTooManyImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fra := w.start("fra")
		w.start("ams")
		defer w.drain()
		p := w.reserve(t)
		require.NoError(t, fra.arrivals.Prepare(t.Context(), "ams", p))
		x, err := fra.arrivals.find("ams", p.ID)
		require.NoError(t, err)
		for i := range maxImages {
			x.cargo.images[fmt.Sprint(i)] = File{}
		}
		send := func() error {
			return fra.arrivals.Image("ams", p.ID, "one-more.img", io.NopCloser(bytes.NewReader(nil)))
		}
		require.ErrorContains(t, send(), "at most")
		require.Error(t, send())
		require.NotContains(t, w.calls, "fra create image")
	})
}
