package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func (w *world) plan() Plan {
	w.mu.Lock()
	defer w.mu.Unlock()
	pod, _ := w.machine.View().Pod("redis")
	w.moves++
	return Plan{ID: fmt.Sprintf("m%d", w.moves), Pod: pod, Source: "ams", Target: "fra", Mode: StopCopy}
}

func (w *world) move(ctx context.Context, watch func(Progress)) error {
	a := w.hosts["ams"].agent
	_, err := NewDeparture(a.config(), w.plan(), source{a}, peer{a, w.hosts["fra"]}, watch).Run(a.life, ctx)
	return err
}

// settled checks a world in which nothing is under way any more.
func (w *world) settled(t *testing.T, cause string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	pod, _ := w.machine.View().Pod("redis")
	require.Empty(t, pod.Migration, "%s: the move is still open", cause)
	for _, h := range w.hosts {
		owner := pod.Node == h.name
		require.Equal(t, owner, h.running && !h.frozen, "%s: the pod runs on %s, owned by %s", cause, h.name, pod.Node)
		require.False(t, h.frozen || h.restored || h.shut || h.diverted || h.images, "%s: %s keeps something: %+v", cause, h.name, *h)
		require.Equal(t, owner && h.name == "fra", h.prepared, "%s: %s prepared", cause, h.name)
		require.LessOrEqual(t, h.starts, 1, "%s: the pod was let run more than once on %s", cause, h.name)
		left, err := os.ReadDir(h.dir)
		require.NoError(t, err)
		require.Empty(t, left, "%s: %s keeps a journal", cause, h.name)
	}
}

// drain ends what is under way.
func (w *world) drain() {
	for _, h := range w.hosts {
		h.agent.kill()
		h.agent.arrivals.Close()
	}
}

func TestMoveRunsThePodAtTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		var seen []string
		require.NoError(t, w.move(context.Background(), func(p Progress) {
			if p.Status == Done {
				seen = append(seen, p.Step)
			}
		}))
		synctest.Wait()
		w.settled(t, "no fault")
		require.Equal(t, "fra", w.plan().Pod.Node)
		require.Equal(t, []string{"preflight", "reserve", "presync", "freeze", "final", "restore", "activate", "release", "retire"}, seen)
	})
}

func TestMoveBackAndForth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		require.NoError(t, w.move(context.Background(), func(Progress) {}))
		err := w.move(context.Background(), func(Progress) {})
		require.ErrorContains(t, err, "at fra", "ams does not own the pod any more")
		synctest.Wait()
		w.hosts["fra"].gateOpen = false
		w.settled(t, "a move from the wrong node")
	})
}

// TestEveryFault lets one fault strike at each call of a move, then mends it, starts the agents that it killed, and
// demands exactly one running copy where the mesh says it is, and nothing left over.
func TestEveryFault(t *testing.T) {
	faults := map[string]func(w *world, point string) error{
		"error":       func(*world, string) error { return errFault },
		"source dies": func(w *world, _ string) error { w.hosts["ams"].agent.kill(); return errFault },
		"target dies": func(w *world, _ string) error { w.hosts["fra"].agent.kill(); return errFault },
		"both die": func(w *world, _ string) error {
			w.hosts["ams"].agent.kill()
			w.hosts["fra"].agent.kill()
			return errFault
		},
		"user cancels": nil,
	}
	for _, point := range callsOfAMove(t) {
		for name, fault := range faults {
			for _, when := range []moment{before, after} {
				t.Run(strings.ReplaceAll(point, " ", "-")+"/"+string(when)+"/"+name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { strike(t, point, when, fault) })
				})
			}
		}
	}
}

func strike(t *testing.T, point string, when moment, fault func(*world, string) error) {
	w := newWorld(t)
	w.start("ams")
	w.start("fra")
	defer w.drain()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	struck := false
	w.fault = func(p string, m moment) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if struck || p != point || m != when {
			return nil
		}
		struck = true
		if fault == nil {
			cancel()
			return nil
		}
		return fault(w, p)
	}
	done := make(chan error, 1)
	go func() { done <- w.move(ctx, func(Progress) {}) }()
	time.Sleep(time.Minute) // virtual
	w.mu.Lock()
	require.True(t, struck, "the fault did not strike")
	w.mu.Unlock()
	for _, name := range []string{"ams", "fra"} {
		if a := w.hosts[name].agent; a.dead() {
			a.arrivals.Close()
			b := w.start(name)
			go func() {
				if err := Recover(b.life, b.config(), source{b}); err != nil {
					t.Errorf("recovering %s: %v", name, err)
				}
			}()
		}
	}
	time.Sleep(5 * time.Minute) // virtual
	select {
	case err := <-done:
		var moved *Error
		if errors.As(err, &moved) {
			require.NotEmpty(t, moved.Step)
			require.NotEmpty(t, moved.Node)
		}
		if err != nil && fault == nil {
			require.ErrorIs(t, err, ErrCancelled)
		}
	default:
		t.Fatal("the move has not ended")
	}
	w.settled(t, point)
}

// callsOfAMove lists the calls that an undisturbed move makes.
func callsOfAMove(t *testing.T) (points []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		require.NoError(t, w.move(context.Background(), func(Progress) {}))
		synctest.Wait()
		seen := map[string]bool{}
		for _, c := range w.calls {
			if !seen[c] {
				seen[c] = true
				points = append(points, c)
			}
		}
	})
	require.Greater(t, len(points), 25)
	return points
}
