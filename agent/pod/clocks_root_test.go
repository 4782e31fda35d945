//go:build root

package pod

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A command in a pod that has moved lives by the pod's clocks. Here runc makes the container in a time namespace, and its
// state says of its first process what the agent sees: so a restore leaves both.
func TestExecLivesByThePodsClocks(t *testing.T) {
	r, s := newRuntime(t, "while :; do sleep 0.1; done")
	script := filepath.Join(t.TempDir(), "runc")
	require.NoError(t, os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
case " $* " in
*" create "*) exec unshare --time --monotonic 5000 --boottime 5000 --fork %[1]s "$@" ;;
*) exec %[1]s "$@" ;;
esac
`, r.runc), 0o700))
	plain := r.runc
	r.runc = script
	require.NoError(t, r.Create(limited(t), s))
	require.NoError(t, r.monitor(limited(t), s, main))
	state, err := r.container(uid, main).state()
	require.NoError(t, err)
	seen, ok := startTime(state.Pid)
	require.True(t, ok)
	require.InDelta(t, seen+500_000, state.Start, 1, "the namespace is 5000 s ahead")
	path := r.container(uid, main).runcState()
	require.NoError(t, copyState(path, path, seen))
	r.runc = plain
	require.NoError(t, r.run(limited(t), "start", containerID(uid, main)))

	uptimes := func(e Exec) (pod, host float64) {
		var out bytes.Buffer
		e.Command, e.Stdout, e.Stderr = []string{"sh", "-c", "cat /proc/uptime; readlink /proc/self/ns/time /proc/1/ns/time; exit 7"}, &out, &out
		code, err := r.Exec(limited(t), uid, main, e)
		require.NoError(t, err)
		require.Equal(t, 7, code, out.String())
		lines := strings.Fields(out.String())
		require.Len(t, lines, 4, out.String())
		require.Equal(t, lines[2], lines[3], "it is in the time namespace of the pod's first process")
		_, err = fmt.Sscan(lines[0], &pod)
		require.NoError(t, err)
		_, err = fmt.Sscan(shell(t, "cat /proc/uptime"), &host)
		require.NoError(t, err)
		return pod, host
	}
	for _, e := range []Exec{{}, {TTY: true}, {Stdin: strings.NewReader("")}} {
		pod, host := uptimes(e)
		require.InDelta(t, host+5000, pod, 30)
	}
	left, err := filepath.Glob(filepath.Join(r.container(uid, main).run, "exec-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
