package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drover-mesh/drover/test/lab"
)

// glance is how long is waited between two looks at where a pod runs.
const glance = 5 * time.Millisecond

// watch looks at where a pod runs, all the time.
type watch struct {
	ground *ground
	uid    string
	end    chan struct{}
	done   sync.WaitGroup

	mu      sync.Mutex
	looks   int
	longest time.Duration // between two looks
	doubled []string      // when it ran at more than one site
}

func (g *ground) watch(uid string) *watch {
	w := &watch{ground: g, uid: uid, end: make(chan struct{})}
	w.done.Go(w.run)
	return w
}

func (w *watch) run() {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-w.end:
			return
		case <-tick.C:
		}
		sites := w.ground.running(w.uid)
		if len(sites) > 1 {
			// One look takes a moment, in which it may have ended here and begun there: so it must be so still.
			sites = slices.DeleteFunc(w.ground.running(w.uid), func(s string) bool { return !slices.Contains(sites, s) })
		}
		now := time.Now()
		w.mu.Lock()
		w.looks++
		w.longest = max(w.longest, now.Sub(last))
		if len(sites) > 1 && len(w.doubled) < 10 {
			w.doubled = append(w.doubled, fmt.Sprintf("%s on %s", now.Format("15:04:05.000"), strings.Join(sites, " and ")))
		}
		w.mu.Unlock()
		last = now
	}
}

// stop returns when the pod ran at more than one site.
func (w *watch) stop() []string {
	close(w.end)
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doubled
}

// running returns the sites where processes of a pod may execute their own instructions: neither frozen, nor held by CRIU,
// nor restored and waiting for the verdict.
func (g *ground) running(uid string) (sites []string) {
	for _, s := range g.Sites() {
		groups, _ := filepath.Glob(g.freezer + "/drover-lab-" + g.Name() + "/" + s.Name + "/pods/" + uid + "/*")
		if slices.ContainsFunc(groups, runs) {
			sites = append(sites, s.Name)
		}
	}
	// A restored pod sleeps in its cgroup before it has ever run. Whether it may run says the gate, which is asked only if it
	// matters.
	if len(sites) > 1 {
		sites = slices.DeleteFunc(sites, g.gated)
	}
	return sites
}

// runs says whether a container's cgroup has a process that runs.
func runs(group string) bool {
	if frozen(group) {
		return false
	}
	procs, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(strings.Fields(string(procs)), lab.Executes)
}

func frozen(group string) bool {
	if state, err := os.ReadFile(filepath.Join(group, "freezer.state")); err == nil { // cgroup v1
		return strings.TrimSpace(string(state)) == "FROZEN"
	}
	events, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
	return err == nil && bytes.Contains(events, []byte("frozen 1"))
}

// gated says whether a restore is under way at a site whose pod has not begun to run.
func (g *ground) gated(site string) bool {
	dir, err := g.Path(site, "/run/drover/moves")
	if err != nil {
		return true // it has just lost its power
	}
	restores, _ := filepath.Glob(dir + "/*/restore/*/restore.json")
	begun, _ := filepath.Glob(dir + "/*/restore/*/resum*")
	return len(restores) > 0 && len(begun) == 0
}

// freezerRoot is where the cgroup hierarchy is that freezes.
func freezerRoot() string {
	const v1 = "/sys/fs/cgroup/freezer"
	if _, err := os.Stat(v1); err == nil {
		return v1
	}
	return "/sys/fs/cgroup"
}
