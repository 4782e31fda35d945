//go:build root

package criu

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// killDump kills the CRIU of a dump, as when memory is short.
func killDump(t *testing.T, o DumpOptions) error {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(o.Work, dumpMarker))
	require.NoError(t, err)
	var m marker
	require.NoError(t, json.Unmarshal(data, &m))
	start, ok := startTime(m.Pid)
	require.True(t, ok)
	require.Equal(t, m.Start, start)
	if err := unix.Kill(m.Pid, unix.SIGKILL); err != nil {
		return err
	}
	return gone(limited(t), m.Pid, m.Start)
}

// A CRIU that is killed lets its tasks go, and has thawed their cgroup. The pod must stand still all the same when Run
// returns: only who has aborted the move may thaw it.
func TestPodStaysFrozenWhenCRIUIsKilled(t *testing.T) {
	s, _ := newSites(t)
	c := s.start(t)
	for _, stage := range []string{"pre-dump", "network-lock", "post-dump"} {
		t.Run(stage, func(t *testing.T) {
			o := s.dump(t)
			d, err := StartDump(limited(t), o)
			require.NoError(t, err)
			require.NoError(t, s.freezer().Freeze(limited(t)))
			killed := false
			kill := func(at string) func() error {
				return func() error {
					if at != stage {
						return nil
					}
					killed = true
					return killDump(t, o)
				}
			}
			require.NoError(t, kill("pre-dump")())
			require.Error(t, d.Run(limited(t), kill("network-lock"), kill("post-dump")))
			require.True(t, killed)
			frozen, err := o.Freezer.Frozen()
			require.NoError(t, err)
			require.True(t, frozen)
			c.silent(t)
			require.NoError(t, AwaitDump(limited(t), o.Work), "of the next agent")
			require.NoError(t, s.freezer().thaw())
			c.ask(t)
		})
	}
	s.images(t)
}
