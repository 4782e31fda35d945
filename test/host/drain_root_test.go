//go:build root

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/workload"
)

// counted starts Redis pods on a site, each with a client outside that holds one connection to it and counts.
func (m *mesh) counted(t *testing.T, site string, names ...string) map[string]*workload.Counter {
	t.Helper()
	counters := map[string]*workload.Counter{}
	for _, name := range names {
		pod := m.run(t, site, bytes.Replace(workload.Redis, []byte("name: redis"), []byte("name: "+name), 1))
		c, err := workload.NewCounter(t.Context(), m.Dialer(lab.ClientSite), net.JoinHostPort(pod.Address, "6379"))
		require.NoError(t, err)
		require.NoError(t, c.Fill(t.Context(), 1<<20))
		c.Start()
		m.requireCounting(t, c)
		counters[name] = c
	}
	return counters
}

// opened makes sure that no test leaves a node cordoned.
func (m *mesh) opened(t *testing.T, sites ...string) {
	t.Cleanup(func() {
		for _, site := range sites {
			_, err := m.clients["nyc"].CordonNode(context.Background(), site, false)
			require.NoError(t, err)
		}
	})
}

// at returns the names of a node's pods.
func (m *mesh) at(t *testing.T, node string) (names []string) {
	t.Helper()
	pods, err := m.clients[node].ListPods(t.Context(), true)
	require.NoError(t, err)
	for _, p := range pods {
		names = append(names, p.Name)
	}
	return names
}

// A node with four pods under load is drained, asked through another node, and gets them back. Nobody who talks to them
// notices more than a pause.
func TestDrainUnderLoad(t *testing.T) {
	m := begin(t)
	m.opened(t, "ams")
	names := []string{"one", "two", "three", "four"}
	counters := m.counted(t, "ams", names...)

	begun := time.Now()
	stdout, stderr, code := m.drover(t, "fra", "node", "drain", "ams", "--parallel", "2", "-o", "json")
	require.Zero(t, code, "%s%s", stdout, stderr)
	var report api.DrainReport
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	require.True(t, report.Cordoned)
	require.Len(t, report.Pods, 4)
	count := map[string]int{}
	for _, p := range report.Pods {
		require.Equal(t, api.DrainMoved, p.Outcome, "%+v", p)
		t.Logf("%s to %s: downtime %.0f ms", p.Pod, p.To, p.Report.DowntimeMS)
		count[m.awaitSettled(t, p.Pod).Node]++
		m.requireCounting(t, counters[p.Pod])
	}
	t.Logf("drained in %.1f s", time.Since(begun).Seconds())
	require.Equal(t, map[string]int{"fra": 2, "nyc": 2}, count, "they are spread")
	require.Empty(t, m.at(t, "ams"))

	// Nothing comes to a cordoned node, asked for or not.
	other := bytes.Replace(workload.Redis, []byte("name: redis"), []byte("name: other"), 1)
	_, err := m.clients["ams"].RunPod(t.Context(), other, "ams")
	require.ErrorContains(t, err, "it is cordoned")
	_, err = m.clients["fra"].Migrate(t.Context(), "one", "ams", &watcher{t: t})
	require.ErrorContains(t, err, "it is cordoned")
	pod, err := m.clients["ams"].RunPod(t.Context(), other, "")
	require.NoError(t, err)
	require.NotEqual(t, "ams", pod.Node)
	require.NoError(t, m.clients["ams"].RemovePod(t.Context(), "other"))

	stdout, stderr, code = m.drover(t, "nyc", "node", "undrain", "ams", "--return")
	require.Zero(t, code, "%s%s", stdout, stderr)
	require.Contains(t, stdout, "[4/4]")
	require.Contains(t, stdout, "ams is open to pods.")
	require.ElementsMatch(t, names, m.at(t, "ams"))
	for _, name := range names {
		m.awaitSettled(t, name)
		m.requireUnharmed(t, counters[name])
	}
	details, err := m.clients["fra"].GetNode(t.Context(), "ams")
	require.NoError(t, err)
	require.Empty(t, details.Drained)
	require.Len(t, details.PodList, 4)
	require.Positive(t, details.Requested.MemoryBytes)
}

// Ctrl-C undoes what has begun; the node stays cordoned, and says how to open it.
func TestInterruptedDrain(t *testing.T) {
	m := begin(t)
	m.opened(t, "ams")
	counters := m.counted(t, "ams", "one", "two")
	m.slow(t, "ams", "fra", struckRate)
	m.slow(t, "ams", "nyc", struckRate)
	cmd := m.Exec(t.Context(), "ams", "drover", "node", "drain", "ams")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	eventually(t, "a pod moves", func() error {
		all, err := m.clients["ams"].ListMigrations(t.Context())
		if err == nil && !slices.ContainsFunc(all, func(g api.Migration) bool { return g.Phase.Open() && g.Step == "presync" }) {
			err = errors.New("none moves yet")
		}
		return err
	})
	require.NoError(t, cmd.Process.Signal(unix.SIGINT))
	_ = cmd.Wait() // its exit code says it
	require.Equal(t, 5, cmd.ProcessState.ExitCode(), "%s%s", &out, &errs)
	require.Contains(t, out.String(), "its turn had not come")
	require.Contains(t, errs.String(), "drover node undrain ams --return")
	require.ElementsMatch(t, []string{"one", "two"}, m.at(t, "ams"))
	nodes, err := m.clients["fra"].ListNodes(t.Context())
	require.NoError(t, err)
	require.True(t, nodes[0].Cordoned, "%+v", nodes[0])
	for name, c := range counters {
		m.awaitSettled(t, name)
		m.requireUnharmed(t, c)
	}
	_, _, code := m.drover(t, "ams", "node", "undrain", "ams")
	require.Zero(t, code)
}

// leaver is a DrainProgress that goes away when the first pod is being sent.
type leaver struct{ leave func() }

func (leaver) Planned([]string)     {}
func (leaver) Started(api.Move)     {}
func (leaver) Ended(api.DrainedPod) {}
func (l leaver) Event(_ string, e api.Event) {
	if e.Step == "presync" {
		l.leave()
	}
}

// Whoever goes away leaves the move that has begun to its end, and no other begins.
func TestDrainThatIsLeft(t *testing.T) {
	m := begin(t)
	m.opened(t, "ams")
	counters := m.counted(t, "ams", "one", "two")
	m.slow(t, "ams", "fra", struckRate)
	m.slow(t, "ams", "nyc", struckRate)
	ctx, leave := context.WithCancel(t.Context())
	_, err := m.clients["nyc"].DrainNode(ctx, "ams", api.DrainOptions{}, leaver{leave})
	require.Equal(t, api.Canceled, api.AsError(err).Code, "%v", err)
	eventually(t, "the drain has ended", func() error {
		details, err := m.clients["fra"].GetNode(t.Context(), "ams")
		if err == nil && details.Draining {
			err = errors.New("it goes on")
		}
		return err
	})
	require.Equal(t, []string{"two"}, m.at(t, "ams"), "one has moved, two has not")
	for name, c := range counters {
		m.awaitSettled(t, name)
		m.requireUnharmed(t, c)
	}
	details, err := m.clients["fra"].GetNode(t.Context(), "ams")
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, details.Drained)
}

// An operator looks at nodes, labels one, and asks where a pod would go.
func TestNodeCommands(t *testing.T) {
	m := begin(t)
	m.opened(t, "fra")
	m.run(t, "ams", workload.Redis)
	run := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, code := m.drover(t, "ams", args...)
		require.Equal(t, want, code, "%v: %s%s", args, stdout, stderr)
		return stdout + stderr
	}
	require.Contains(t, run(0, "node", "ls", "-o", "wide"), "Ready")
	out := run(0, "node", "describe", "fra")
	require.Contains(t, out, "drover.dev/site=fra")
	require.Contains(t, out, "gossip says that it is alive")

	run(0, "node", "label", "nyc", "disk=ssd")
	require.Contains(t, run(6, "node", "label", "nyc", "disk=hdd"), "--overwrite")
	require.Contains(t, run(0, "pod", "explain", "redis"), "If it had to leave, it would go to fra")
	run(0, "node", "cordon", "fra")
	require.Contains(t, run(0, "pod", "explain", "redis"), "If it had to leave, it would go to nyc")
	run(0, "node", "uncordon", "fra")
	run(0, "node", "label", "nyc", "disk-")

	require.Contains(t, run(6, "node", "rm", "ams"), "drover node drain ams")
	require.Contains(t, run(6, "node", "rm", "fra"), "its agent is alive")
	run(3, "node", "describe", "gru")
	require.Contains(t, run(6, "node", "drain", "ams", "--dry-run", "--to", "ams"), "there is no other node")
	require.Contains(t, run(0, "node", "drain", "ams", "--dry-run"), "redis would go to")
	require.Equal(t, []string{"redis"}, m.at(t, "ams"))
}

// A pod that can't leave is named and doesn't keep the others.
func TestDrainNamesWhatStays(t *testing.T) {
	m := begin(t)
	m.opened(t, "ams")
	counters := m.counted(t, "ams", "free")
	pinned := bytes.Replace(workload.Redis, []byte("  containers:"), []byte("  volumes: [{name: data, hostPath: {path: /tmp}}]\n  containers:"), 1)
	m.run(t, "ams", pinned)
	stdout, stderr, code := m.drover(t, "ams", "node", "drain", "ams")
	require.Equal(t, 6, code, "%s%s", stdout, stderr)
	require.Contains(t, stdout, "redis stays on ams: no node fits\n  fra: the pod can't leave ams: its volume data is the node's own directory /tmp")
	require.Contains(t, stderr, "not moved: 1 of 2 pods")
	require.Equal(t, []string{"redis"}, m.at(t, "ams"))
	m.awaitSettled(t, "free")
	m.requireUnharmed(t, counters["free"])
}

// A pod goes where its selector says, and nowhere else.
func TestPodGoesWhereItsSelectorSays(t *testing.T) {
	m := begin(t)
	_, err := m.clients["fra"].LabelNode(t.Context(), "nyc", api.LabelChange{Set: map[string]string{"disk": "ssd"}})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := m.clients["fra"].LabelNode(context.Background(), "nyc", api.LabelChange{Remove: []string{"disk"}})
		require.NoError(t, err)
	})
	pod, err := m.clients["ams"].RunPod(t.Context(), bytes.Replace(workload.Redis, []byte("spec:\n"), []byte("spec:\n  nodeSelector: {disk: ssd}\n"), 1), "")
	require.NoError(t, err)
	require.Equal(t, "nyc", pod.Node)
	_, err = m.clients["ams"].Migrate(t.Context(), "redis", "fra", &watcher{t: t})
	require.ErrorContains(t, err, "it lacks the label disk=ssd")
}

// A pod that fits nowhere is refused with the reason of each node.
func TestPodThatFitsNowhere(t *testing.T) {
	m := begin(t)
	large := bytes.Replace(workload.Redis, []byte("memory: 512Mi"), []byte("memory: 512Mi\n          cpu: \"1000\""), 1)
	_, err := m.clients["ams"].RunPod(t.Context(), large, "")
	for _, site := range m.Sites() {
		require.ErrorContains(t, err, site.Name+": 1000 CPU is requested")
	}
	_, err = m.clients["ams"].RunPod(t.Context(), large, "fra")
	require.ErrorContains(t, err, "it doesn't fit there: fra: 1000 CPU is requested")
}
