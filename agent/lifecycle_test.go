package agent

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/drover-mesh/drover/agent/pod"
)

// three is a pod of two init containers and two others, with a restartPolicy.
func three(t *testing.T, policy string) *pod.Manifest {
	m, err := pod.ParseManifest([]byte(`
apiVersion: v1
kind: Pod
metadata: {name: three}
spec:
  restartPolicy: ` + policy + `
  initContainers:
  - {name: first, image: a, command: [a]}
  - {name: second, image: a, command: [a]}
  containers:
  - {name: web, image: a, command: [a]}
  - {name: app, image: a, command: [a]}
`))
	require.NoError(t, err)
	return m
}

// at gives a status: a letter a container, of Created, Running, exited with 0 and Failed.
func at(states string) pod.Status {
	s := pod.Status{}
	for i, name := range []string{"first", "second", "web", "app"} {
		c := pod.ContainerStatus{Name: name, Init: i < 2}
		switch states[i] {
		case 'C':
			c.Phase = pod.Created
		case 'R':
			c.Phase, c.Pid = pod.Running, 1
		case '0':
			c.Phase = pod.Exited
		case 'F':
			c.Phase, c.ExitCode = pod.Exited, 3
		}
		s.Containers = append(s.Containers, c)
	}
	return s
}

func TestContainersStartInOrder(t *testing.T) {
	for _, c := range []struct {
		policy, states string
		start          []string
		begun          bool
	}{
		{"Always", "CCCC", []string{"first"}, false},
		{"Always", "RCCC", nil, false},
		{"Always", "0CCC", []string{"second"}, false},
		{"Always", "0RCC", nil, false},
		{"Always", "00CC", []string{"web", "app"}, false},
		{"Always", "00RC", []string{"app"}, false},
		{"Always", "00RR", nil, true},
		{"Always", "000R", []string{"web"}, true},
		{"OnFailure", "000R", nil, true},
		{"OnFailure", "00FR", []string{"web"}, true},
		{"Never", "00FR", nil, true},
		{"Always", "FCCC", []string{"first"}, true},
		{"OnFailure", "0FCC", []string{"second"}, true},
		{"Never", "0FCC", nil, true},
	} {
		m := three(t, c.policy)
		require.Equal(t, c.start, due(m, at(c.states), func(pod.ContainerStatus) bool { return true }), "%s %s", c.policy, c.states)
		require.Equal(t, c.begun, begun(m, at(c.states)), "%s %s", c.policy, c.states)
		for _, name := range due(m, at(c.states), func(pod.ContainerStatus) bool { return false }) {
			require.Contains(t, c.states, "C", "%s waits for its back-off", name)
		}
	}
}

func TestPodsEnd(t *testing.T) {
	for _, c := range []struct {
		policy, states string
		over           bool
		reason         string
	}{
		{"Always", "0000", false, ""},
		{"OnFailure", "0000", true, ""},
		{"OnFailure", "00F0", false, ""},
		{"Never", "0000", true, ""},
		{"Never", "000F", true, "container app ended with code 3"},
		{"Never", "00RF", false, ""},
		{"Never", "F0CC", true, "init container first ended with code 3"},
		{"Always", "F0CC", false, ""},
		{"Never", "CCCC", false, ""},
		{"Never", "00CC", false, ""},
	} {
		over, reason := ended(three(t, c.policy), at(c.states))
		require.Equal(t, c.over, over, "%s %s", c.policy, c.states)
		if over {
			require.Equal(t, c.reason, reason)
		}
	}
}

func TestRendezvousActsOnceWhenAllHaveCome(t *testing.T) {
	for range 50 {
		var acts, arrived atomic.Int32
		r := newRendezvous(5, func() error {
			require.EqualValues(t, 4, arrived.Load())
			acts.Add(1)
			return nil
		})
		var g errgroup.Group
		for i := range 5 {
			g.Go(func() error {
				if i < 4 {
					arrived.Add(1)
					return r.arrive(t.Context())
				}
				for arrived.Load() < 4 {
					runtime.Gosched()
				}
				return r.arrive(t.Context())
			})
		}
		require.NoError(t, g.Wait())
		require.EqualValues(t, 1, acts.Load())
	}
}

func TestRendezvousIsGivenUp(t *testing.T) {
	r := newRendezvous(2, func() error { return errors.New("must not be done") })
	ctx, cancel := context.WithCancelCause(t.Context())
	broken := errors.New("another container's dump failed")
	cancel(broken)
	require.ErrorIs(t, r.arrive(ctx), broken)

	r = newRendezvous(2, func() error { return broken })
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			if err := r.arrive(t.Context()); !errors.Is(err, broken) {
				return errors.New("one of them isn't told")
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
}
