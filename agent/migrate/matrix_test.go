package migrate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fault decides what happens at a call. w.mu is held.
type fault func(w *world, point string, when moment) error

// ordeal runs a move under the first fault, restarts what has ended under each of the others in turn, and demands
// that in the end all is mended.
func ordeal(t *testing.T, cause string, faults ...fault) {
	w := newWorld(t)
	w.start("ams")
	w.start("fra")
	defer w.drain()
	w.suffer(faults[0])
	done := make(chan error, 1)
	go func() { done <- w.move(context.Background(), func(Progress) {}) }()
	for _, f := range append(faults[1:], func(*world, string, moment) error { return nil }) {
		time.Sleep(time.Minute) // virtual
		w.suffer(f)
		w.revive(t)
	}
	time.Sleep(5 * time.Minute) // virtual
	select {
	case <-done:
	default:
		t.Fatal("the move has not ended")
	}
	w.settled(t, cause)
}

func (w *world) suffer(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = func(point string, when moment) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		return f(w, point, when)
	}
}

// revive starts the agents again that have ended. In the end they must recover without an error.
func (w *world) revive(t *testing.T) {
	for _, name := range []string{"ams", "fra"} {
		a := w.hosts[name].agent
		if a.life.Err() == nil {
			continue
		}
		a.arrivals.Close()
		b := w.start(name)
		go func() {
			if err := Recover(b.life, b.config(), source{b}); err != nil && b.life.Err() == nil {
				t.Errorf("recovering %s: %v", name, err)
			}
		}()
	}
}

// once lets f strike at one call.
func once(point string, when moment, f func(w *world)) fault {
	struck := false
	return func(w *world, p string, m moment) error {
		if struck || p != point || m != when {
			return nil
		}
		struck = true
		f(w)
		return errFault
	}
}

func ends(how func(*agent), names ...string) func(*world) {
	return func(w *world) {
		for _, name := range names {
			how(w.hosts[name].agent)
		}
	}
}

func eachCall(t *testing.T, test func(t *testing.T, point string, when moment)) {
	for _, point := range callsOfAMove(t) {
		for _, when := range []moment{before, after} {
			t.Run(strings.ReplaceAll(point, " ", "-")+"/"+string(when), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test(t, point, when) })
			})
		}
	}
}

// TestAgentStopsCleanly ends an agent's life at each call, which then goes on: a move that can be ended within the
// grace is.
func TestAgentStopsCleanly(t *testing.T) {
	for _, names := range [][]string{{"ams"}, {"fra"}, {"ams", "fra"}} {
		t.Run(strings.Join(names, "+"), func(t *testing.T) {
			eachCall(t, func(t *testing.T, point string, when moment) {
				f := once(point, when, ends(func(a *agent) { a.stop() }, names...))
				ordeal(t, point, func(w *world, p string, m moment) error {
					_ = f(w, p, m) // the call itself goes on
					return nil
				})
			})
		})
	}
}

// TestStoppedAgentLeavesNoPodFrozen stops the source's agent at each call and doesn't start it again.
func TestStoppedAgentLeavesNoPodFrozen(t *testing.T) {
	eachCall(t, func(t *testing.T, point string, when moment) {
		w := newWorld(t)
		w.start("ams")
		w.start("fra")
		defer w.drain()
		f := once(point, when, ends(func(a *agent) { a.stop() }, "ams"))
		w.suffer(func(w *world, p string, m moment) error {
			_ = f(w, p, m)
			return nil
		})
		go func() { _ = w.move(context.Background(), func(Progress) {}) }()
		time.Sleep(grace + 10*time.Second) // virtual
		w.mu.Lock()
		defer w.mu.Unlock()
		running := 0
		for _, h := range w.hosts {
			if h.running && !h.frozen {
				running++
			}
		}
		require.Equal(t, 1, running, "the pod stands still until the agent starts again")
	})
}

// TestCommitUnknown lets commands be committed, or lost, several times without an answer.
func TestCommitUnknown(t *testing.T) {
	eachCall(t, func(t *testing.T, point string, when moment) {
		if !strings.Contains(point, "propose") {
			return
		}
		times := 0
		ordeal(t, point, func(_ *world, p string, m moment) error {
			if p == point && m == when && times < 6 {
				times++
				return errFault
			}
			return nil
		})
	})
}

// TestPartition cuts the agents from each other from a call on; the mesh is reached by other ways.
func TestPartition(t *testing.T) {
	eachCall(t, func(t *testing.T, point string, when moment) {
		cut := false
		ordeal(t, point, func(w *world, p string, m moment) error {
			if p == point && m == when && !cut {
				cut = true
				for _, s := range w.streams {
					go s.Close()
				}
			}
			if cut && strings.Contains(p, " call ") {
				return errFault
			}
			return nil
		})
	})
}

// TestQuorumLost lets no command through from a call on, for a minute.
func TestQuorumLost(t *testing.T) {
	eachCall(t, func(t *testing.T, point string, when moment) {
		lost := false
		ordeal(t, point, func(_ *world, p string, m moment) error {
			lost = lost || p == point && m == when
			if lost && strings.Contains(p, "propose") {
				return errFault
			}
			return nil
		})
	})
}

// TestDyingAgain kills both agents at each call of a move, and then again at one of the first calls of their recovery,
// twice.
func TestDyingAgain(t *testing.T) {
	again := func(n int) fault {
		return func(w *world, _ string, _ moment) error {
			if n--; n == 0 {
				ends((*agent).kill, "ams", "fra")(w)
				return errFault
			}
			return nil
		}
	}
	for n := 1; n <= 8; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			eachCall(t, func(t *testing.T, point string, when moment) {
				ordeal(t, point, once(point, when, ends((*agent).kill, "ams", "fra")), again(n), again(n+1))
			})
		})
	}
}

// TestManyFaults draws faults at random: errors, deaths and stops, in a move and in the recoveries after it.
func TestManyFaults(t *testing.T) {
	const runs = 400
	for seed := range uint64(runs) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				chaos := func(w *world, _ string, _ moment) error {
					switch random.IntN(60) {
					case 0:
						ends((*agent).kill, "ams")(w)
					case 1:
						ends((*agent).kill, "fra")(w)
					case 2:
						ends(func(a *agent) { a.stop() }, []string{"ams", "fra"}[random.IntN(2)])(w)
						return nil
					case 3, 4:
					default:
						return nil
					}
					return errFault
				}
				ordeal(t, fmt.Sprintf("seed %d", seed), chaos, chaos, chaos)
			})
		})
	}
}
