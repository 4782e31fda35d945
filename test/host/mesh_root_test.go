//go:build root

package host

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
	"github.com/drover-mesh/drover/test/workload"
)

// patience bounds every wait for the mesh: an unreachable peer is noticed after six seconds.
const patience = 40 * time.Second

// mesh is a lab with three sites, ams, fra and nyc, and a client of each agent.
type mesh struct {
	*lab.Lab
	binary  string
	images  map[string]string // tar files by image
	clients map[string]*api.Client
}

func (m *mesh) close() {
	for _, c := range m.clients {
		c.Close()
	}
}

// keepLogs copies the agents' logs to where the lab's end doesn't reach them.
func (m *mesh) keepLogs() {
	dir := filepath.Join(os.TempDir(), "drover-host-logs")
	if os.RemoveAll(dir) != nil || os.Mkdir(dir, 0o700) != nil {
		return
	}
	for _, site := range m.Sites() {
		if text, err := os.ReadFile(m.AgentLog(site.Name)); err == nil {
			_ = os.WriteFile(filepath.Join(dir, site.Name+".log"), text, 0o600) // only a help
		}
	}
	println("test/host: the agents' logs are in " + dir)
}

// begin gives a test the mesh, whole. When the test ends its pods are removed, and whatever else it left anywhere fails it.
func begin(t *testing.T) *mesh {
	t.Helper()
	m := shared
	m.awaitWhole(t)
	before := m.footprints(t)
	t.Cleanup(func() {
		ctx := context.Background()
		m.heal(t)
		m.awaitWholeWithin(ctx, t)
		pods, err := m.clients["ams"].ListPods(ctx, false)
		require.NoError(t, err)
		for _, p := range pods {
			m.awaitSettled(t, p.Name)
			require.NoError(t, m.clients["ams"].RemovePod(ctx, p.Name))
		}
		m.requireFootprints(t, before)
	})
	return m
}

func (m *mesh) load(ctx context.Context, site, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = m.clients[site].LoadImage(ctx, api.LoadImage{Name: name, Node: site}, f)
	return err
}

// run starts a pod on a site.
func (m *mesh) run(t *testing.T, site string, manifest []byte) api.Pod {
	t.Helper()
	pod, err := m.clients[site].RunPod(t.Context(), manifest, site)
	require.NoError(t, err)
	return pod
}

// redis starts a Redis on a site, and a client outside that holds one connection to it, has filled it and counts.
func (m *mesh) redis(t *testing.T, site string, fill int64) (api.Pod, *workload.Counter) {
	t.Helper()
	pod := m.run(t, site, workload.Redis)
	counter, err := workload.NewCounter(t.Context(), m.Dialer(lab.ClientSite), net.JoinHostPort(pod.Address, "6379"))
	require.NoError(t, err)
	require.NoError(t, counter.Fill(t.Context(), fill))
	counter.Start()
	m.requireCounting(t, counter)
	return pod, counter
}

// requireCounting waits for more answers on the one connection.
func (m *mesh) requireCounting(t *testing.T, c *workload.Counter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, c.Await(ctx, 5), "the client's connection")
}

// requireUnharmed stops a client and compares: its one connection was never reset, and nothing was lost or done twice.
func (m *mesh) requireUnharmed(t *testing.T, c *workload.Counter) workload.Count {
	t.Helper()
	m.requireCounting(t, c)
	count, err := c.Stop(t.Context())
	require.NoError(t, err)
	require.Positive(t, count.Acknowledged)
	require.Equal(t, workload.Count{Connections: 1, Acknowledged: count.Acknowledged}, count)
	return count
}

// migrate moves a pod, asking the agent of a site, and calls each hook when its event has come.
func (m *mesh) migrate(ctx context.Context, t *testing.T, via, pod, to string, hooks ...*hook) (api.Report, error) {
	t.Helper()
	return m.clients[via].Migrate(ctx, pod, to, &watcher{t: t, hooks: hooks})
}

// hook does something once, when a step of a move reaches a state.
type hook struct {
	step  string
	state api.StepState
	do    func()
	done  bool
}

func on(step string, state api.StepState, do func()) *hook {
	return &hook{step: step, state: state, do: do}
}

// watcher is a Progress that logs and strikes.
type watcher struct {
	t     *testing.T
	hooks []*hook
}

func (w *watcher) Started(api.Move) {}

func (w *watcher) Event(e api.Event) {
	if e.State == api.StepFailed || e.State == api.StepUndone {
		w.t.Logf("step %s on %s %s: %s", e.Step, e.Node, e.State, e.Note)
	}
	for _, h := range w.hooks {
		if h.step == e.Step && h.state == e.State && !h.done {
			h.done = true
			h.do()
		}
	}
}

// kill ends agents as a crash would. Their supervisor starts them again after a second.
func (m *mesh) kill(t *testing.T, sites ...string) {
	t.Helper()
	for _, site := range sites {
		require.NoError(t, m.SignalAgent(context.Background(), site, unix.SIGKILL))
	}
}

// heal undoes all that tests do to links, and thaws and starts agents.
func (m *mesh) heal(t *testing.T) {
	t.Helper()
	m.healLinks(t)
	for _, s := range m.Sites() {
		require.NoError(t, m.KeepAgent(context.Background(), s.Name, true))
	}
}

// healLinks undoes all that tests do to links.
func (m *mesh) healLinks(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	links, err := m.WAN().Links(ctx)
	require.NoError(t, err)
	c, cut, loss := normal, false, 0.0
	for _, l := range links {
		require.NoError(t, m.WAN().SetOneWay(ctx, l.From, l.To, wan.Change{Delay: &c.Delay, Rate: &c.Rate, Loss: &loss, Cut: &cut}))
	}
}

// slow gives the way between two sites a rate, so that there is time to strike.
func (m *mesh) slow(t *testing.T, from, to string, rate wan.Rate) {
	t.Helper()
	require.NoError(t, m.WAN().SetOneWay(t.Context(), from, to, wan.Change{Rate: &rate}))
}

// awaitWhole waits until every agent knows a leader and sees all others alive.
func (m *mesh) awaitWhole(t *testing.T) {
	t.Helper()
	m.awaitWholeWithin(t.Context(), t)
}

func (m *mesh) awaitWholeWithin(ctx context.Context, t *testing.T) {
	t.Helper()
	eventually(t, "the mesh is whole", func() error {
		for site, c := range m.clients {
			attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
			s, err := c.GetStatus(attempt)
			cancel()
			if err != nil {
				return err
			}
			if s.Leader == "" || s.NodesAlive != len(m.clients) {
				return errors.New(site + " sees leader " + s.Leader + ": " + strings.Join(s.Problems, "; "))
			}
		}
		return nil
	})
}

// awaitSettled waits until no move of the pod is open, its owner runs it, and no other site has a process of it or
// anything left of a move.
func (m *mesh) awaitSettled(t *testing.T, name string) (pod api.Pod) {
	t.Helper()
	eventually(t, name+" serves on one site", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		for _, c := range m.clients { // all of them agree
			p, err := c.GetPod(ctx, name)
			if err != nil {
				return err
			}
			if p.Phase != api.PodRunning || p.Migration != "" || pod.Node != "" && p.Node != pod.Node {
				pod = api.Pod{}
				return errors.New(p.Node + " says: " + string(p.Phase) + ", " + p.Reason + " " + p.Migration)
			}
			pod = p
		}
		if sites := m.copies(t, pod.UID); len(sites) != 1 || sites[0] != pod.Node {
			return errors.New("owner " + pod.Node + ", processes on " + strings.Join(sites, " and "))
		}
		for _, s := range m.Sites() {
			for _, dir := range []string{"/var/lib/drover/moves", "/run/drover/moves"} {
				path, err := m.Path(s.Name, dir)
				if err != nil {
					return err
				}
				left, err := os.ReadDir(path)
				if err != nil {
					return err
				}
				if len(left) > 0 {
					return errors.New(s.Name + " has " + dir + "/" + left[0].Name())
				}
			}
		}
		return nil
	})
	return pod
}

// copies returns the sites where processes of a pod exist, frozen or not.
func (m *mesh) copies(t *testing.T, uid string) (sites []string) {
	t.Helper()
	for _, s := range m.Sites() {
		lists, err := filepath.Glob("/sys/fs/cgroup/*/drover-lab-" + m.Name() + "/" + s.Name + "/*/" + uid + "/*/cgroup.procs")
		require.NoError(t, err)
		unified, err := filepath.Glob("/sys/fs/cgroup/drover-lab-" + m.Name() + "/" + s.Name + "/*/" + uid + "/*/cgroup.procs")
		require.NoError(t, err)
		for _, list := range append(lists, unified...) {
			if text, err := os.ReadFile(list); err == nil && len(bytes.TrimSpace(text)) > 0 {
				sites = append(sites, s.Name)
				break
			}
		}
	}
	return sites
}

// eventually waits for something that other processes do, and tells why it has not come.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var last error
	done := func() bool { last = ok(); return last == nil }
	if !waitFor(done) {
		require.NoError(t, last, what)
	}
}

func waitFor(done func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// drover runs the command as a user at a site would, and returns what it wrote and its exit code.
func (m *mesh) drover(t *testing.T, site string, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := m.Exec(ctx, site, append([]string{"drover"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		require.NoError(t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// inSite runs a shell script in a site and returns what it wrote.
func (m *mesh) inSite(t *testing.T, site, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	cmd := m.Exec(ctx, site, "/bin/sh", "-ec", script)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "in %s: %s: %s", site, script, errs.String())
	return strings.TrimSpace(string(out))
}
