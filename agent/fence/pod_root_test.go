//go:build root

package fence

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hierarchies are where this host has freezers: those of version 1, of version 2, or both.
func hierarchies(t *testing.T) map[string]string {
	found := map[string]string{}
	for _, at := range []struct{ version, dir, file string }{
		{"v1", "/sys/fs/cgroup/freezer", "cgroup.procs"},
		{"v2", "/sys/fs/cgroup/unified", "cgroup.procs"},
		{"v2", "/sys/fs/cgroup", "cgroup.controllers"},
	} {
		if _, err := os.Stat(filepath.Join(at.dir, at.file)); err == nil {
			found[at.version] = at.dir
		}
	}
	require.NotEmpty(t, found, "mount a cgroup hierarchy with a freezer below /sys/fs/cgroup")
	return found
}

// eachVersion runs a test with every freezer that the host has.
func eachVersion(t *testing.T, f func(t *testing.T, hierarchy string)) {
	for version, dir := range hierarchies(t) {
		t.Run(version, func(t *testing.T) { f(t, dir) })
	}
}

// pod is a cgroup with a container in it whose program never rests.
type pod struct {
	t        *testing.T
	dir, uid string
	inner    string
}

const spin = `while :; do i=$((i+1)); done`

func newPod(t *testing.T, hierarchy string) *pod {
	p := &pod{t: t, uid: fmt.Sprintf("fence-test-%d-%d", os.Getpid(), time.Now().UnixNano())}
	p.dir = filepath.Join(hierarchy, p.uid)
	p.inner = filepath.Join(p.dir, "main")
	require.NoError(t, os.MkdirAll(p.inner, 0o755))
	t.Cleanup(p.remove)
	p.run(spin)
	return p
}

// run starts a program in the pod's container.
func (p *pod) run(script string) {
	cmd := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs"; echo in; `+script, p.inner)
	out, err := cmd.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(p.t, err)
	require.Equal(p.t, "in\n", line)
	p.t.Cleanup(func() { // after the freezer has let it go
		_ = cmd.Process.Kill()
		p.thaw()
		_ = cmd.Wait()
	})
}

func (p *pod) thaw() {
	for name, text := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
		if path := filepath.Join(p.dir, name); exists(path) {
			_ = os.WriteFile(path, []byte(text), 0)
		}
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func (p *pod) frozen() bool {
	if text, err := os.ReadFile(filepath.Join(p.inner, "freezer.state")); err == nil {
		return strings.TrimSpace(string(text)) == "FROZEN"
	}
	text, err := os.ReadFile(filepath.Join(p.inner, "cgroup.events"))
	require.NoError(p.t, err)
	return strings.Contains(string(text), "frozen 1")
}

func (p *pod) remove() {
	p.thaw()
	require.Eventually(p.t, func() bool {
		_ = os.Remove(p.inner)
		_ = os.Remove(p.dir)
		return !exists(p.dir)
	}, 5*time.Second, time.Millisecond)
}
