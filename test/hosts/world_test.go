//go:build hosts

package hosts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/workload"
)

// full is a CPU with all that QEMU can emulate; lesser has no AVX.
const (
	full   = "max"
	lesser = "Nehalem"
)

// world is what the steps of the test share.
type world struct {
	h1, h2  *guest
	before  map[*guest]string // what drover could leave behind, as it was before it was installed
	counter *workload.Counter
	address string // of the pod
}

var began = time.Now()

// say shows the progress, with the seconds since the start.
func say(format string, args ...any) {
	fmt.Printf("%4.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

// newWorld boots two guests.
func newWorld(t *testing.T) *world {
	t.Helper()
	require.Zero(t, os.Geteuid(), "needs root, to build an image: run make test-hosts")
	dir, err := os.MkdirTemp("", "drover-hosts-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	image, err := makeImage(t.Context())
	require.NoError(t, err)
	say("image of %s in %s", suite, image.dir)
	cargo, err := packCargo(t.Context(), dir)
	require.NoError(t, err)
	say("packages built")
	w := &world{before: map[*guest]string{}}
	for slot, g := range []**guest{&w.h1, &w.h2} {
		*g = &guest{name: fmt.Sprintf("h%d", slot+1), slot: slot + 1, cpu: full, image: image, dir: dir, cargo: cargo}
		t.Cleanup(func() { require.NoError(t, (*g).kill()) })
	}
	t.Cleanup(func() {
		if t.Failed() {
			w.tellAll()
		}
	})
	require.NoError(t, w.both(t.Context(), func(ctx context.Context, g *guest) error { return g.boot(ctx, true) }))
	return w
}

// both does something to both guests at once.
func (w *world) both(ctx context.Context, do func(context.Context, *guest) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, g := range []*guest{w.h1, w.h2} {
		group.Go(func() error {
			if err := do(ctx, g); err != nil {
				return fmt.Errorf("on %s: %w", g.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// tellAll prints what a person wants to see of a failure.
func (w *world) tellAll() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, g := range []*guest{w.h1, w.h2} {
		fmt.Printf("--- console of %s\n%s\n", g.name, tail(g.file("console"), 10))
		if g.shell == nil {
			continue
		}
		for _, what := range []string{
			"journalctl --no-pager --output=cat -u drover-agent | tail -n 60", "systemctl --no-pager status drover-agent || true",
			"drover node ls; drover pod ls -o wide; drover migration ls", "ip rule; ip route show table all | grep -v local",
		} {
			out, err := g.shell.run(ctx, "{ "+what+"; } 2>&1")
			fmt.Printf("--- %s: %s\n%s\n", g.name, what, out)
			if err != nil {
				fmt.Println(err)
			}
		}
	}
}

// must runs a script on a guest, and the test fails with it.
func must(t *testing.T, g *guest, script string) string {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := g.shell.run(limit, script)
	require.NoError(t, err, "on %s: %s", g.name, script)
	return strings.TrimSpace(out)
}

// ask runs a command that answers in JSON.
func ask[T any](t *testing.T, g *guest, command string) T {
	t.Helper()
	var answer T
	require.NoError(t, json.Unmarshal([]byte(must(t, g, command+" --output json")), &answer))
	return answer
}

// eventually waits until a check succeeds, and then returns.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			require.NoError(t, err, what)
		}
	}
}

// pod is the pod as a guest's agent sees it.
func (w *world) pod(t *testing.T, g *guest) api.Pod {
	t.Helper()
	return ask[api.Pod](t, g, "drover pod get redis")
}

// awaitPod waits until the pod runs at a node, by the word of that node.
func (w *world) awaitPod(t *testing.T, at *guest) api.Pod {
	t.Helper()
	var p api.Pod
	eventually(t, "the pod runs on "+at.name, func() error {
		out, err := at.shell.run(t.Context(), "drover pod get redis --output json")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &p); err != nil {
			return err
		}
		if p.Node != at.name || p.Phase != api.PodRunning || len(p.Containers) != 1 || p.Containers[0].PID == 0 {
			return fmt.Errorf("it is %s on %s: %s", p.Phase, p.Node, p.Reason)
		}
		return nil
	})
	return p
}

// awaitMesh waits until both agents see each other alive and know a leader.
func (w *world) awaitMesh(t *testing.T) {
	t.Helper()
	for _, g := range []*guest{w.h1, w.h2} {
		eventually(t, "the mesh is whole by the word of "+g.name, func() error {
			out, err := g.shell.run(t.Context(), "drover node ls --output json")
			if err != nil {
				return err
			}
			var mesh struct{ Nodes []api.Node }
			if err := json.Unmarshal([]byte(out), &mesh); err != nil {
				return err
			}
			alive := 0
			for _, n := range mesh.Nodes {
				if (n.Name == w.h1.name || n.Name == w.h2.name) && n.State == api.NodeAlive {
					alive++
				}
			}
			if alive != 2 {
				return fmt.Errorf("not both are alive: %s", out)
			}
			_, err = g.shell.run(t.Context(), "drover status --output json | grep -q '\"leader\": \"[^\"]'")
			return err
		})
	}
}
