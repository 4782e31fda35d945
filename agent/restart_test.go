package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/pod"
)

func TestBackOffGrowsAndIsForgiven(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var b backOff
	var waits []time.Duration
	for range 8 {
		at, after := b.next(now)
		waits = append(waits, at.Sub(now))
		after.started = at
		b, now = after, at.Add(time.Second) // it ends a second after each start
	}
	s := time.Second
	require.Equal(t, []time.Duration{0, 10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 300 * s, 300 * s}, waits)
	at, _ := b.next(b.started.Add(forgiveAfter))
	require.Equal(t, b.started.Add(forgiveAfter), at, "it ran long enough to be started at once")
}

func TestRestartPolicy(t *testing.T) {
	for _, c := range []struct {
		policy       string
		code         int
		wantsRestart bool
	}{
		{"", 0, true}, {"", 1, true},
		{"Always", 0, true}, {"Always", 137, true},
		{"OnFailure", 0, false}, {"OnFailure", 1, true}, {"OnFailure", -1, true},
		{"Never", 0, false}, {"Never", 1, false},
	} {
		text := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: a, image: a, command: [a]}]\n"
		if c.policy != "" {
			text += "  restartPolicy: " + c.policy + "\n"
		}
		m, err := pod.ParseManifest([]byte(text))
		require.NoError(t, err)
		require.Equal(t, c.wantsRestart, wantsRestart(m, pod.ContainerStatus{ExitCode: c.code}), fmt.Sprintf("%q after code %d", c.policy, c.code))
	}
}
