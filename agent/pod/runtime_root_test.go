//go:build root

package pod

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/isolation"
)

// main is the name of a test pod's only container.
const main = "main"

const uid = "drover-pod-test"

func testConfig() Config {
	return Config{StateDir: "/run/drover-pod/state", RunDir: "/run/drover-pod/run", CgroupParent: "/" + isolation.Name()}
}

// newRuntime gives a runtime and a pod that runs that script.
func newRuntime(t *testing.T, script string) (*Runtime, Spec) {
	t.Helper()
	shell(t, "ip netns add drover-pod-test 2>/dev/null || true")
	// An upper layer can't lie on the tmpfs of another user namespace, and needs a file system with extended attributes.
	dir, err := os.MkdirTemp("/var/tmp", "drover-pod-test-")
	require.NoError(t, err)
	root := filepath.Join(dir, "root")
	shell(t, "cd %[1]s; mkdir root upper work; mount -t overlay overlay -o lowerdir=/,upperdir=%[1]s/upper,workdir=%[1]s/work root", dir)
	r, err := Open(testConfig())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, r.Remove(context.Background(), uid))
		shell(t, "umount %[1]s/root; rm -rf %[1]s", dir)
		require.NoError(t, RemoveCgroups(context.Background(), Cgroupfs, testConfig().CgroupParent))
		all, err := r.List()
		require.NoError(t, err)
		require.Empty(t, all)
		require.Empty(t, shell(t, "ps -eo args | grep '[c]onmon' || true"))
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		require.NoError(t, err)
		require.False(t, strings.Contains(string(mounts), "drover-pod/"), "a mount is left")
	})
	return r, spec(t, root, script, "")
}

func spec(t *testing.T, root, script, more string) Spec {
	t.Helper()
	quoted, err := json.Marshal(script)
	require.NoError(t, err)
	m, err := ParseManifest([]byte(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: tester}
spec:
  hostname: inside
  terminationGracePeriodSeconds: 2
  containers:
  - name: main
    image: host
    command: [sh, -c, %s]
    env: [{name: GREETING, value: hello}]
%s`, quoted, more)))
	require.NoError(t, err)
	return Spec{UID: uid, Name: "tester", Manifest: m, NetNS: "/run/netns/drover-pod-test", Containers: []Container{{Name: main, Root: root}}}
}

func start(t *testing.T, r *Runtime, s Spec) {
	t.Helper()
	require.NoError(t, r.Create(limited(t), s))
	require.NoError(t, r.Start(limited(t), s.UID, main))
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func shell(t *testing.T, format string, args ...any) string {
	t.Helper()
	script := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	require.NoError(t, err, "%s: %s", script, out)
	return string(out)
}

// ended follows the pod's log until its end.
func ended(t *testing.T, r *Runtime) (log string, s ContainerStatus) {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, r.Logs(limited(t), uid, main, LogOptions{Follow: true}, to(&out)))
	status, err := r.Status(uid)
	require.NoError(t, err)
	require.Equal(t, Exited, status.Phase)
	return out.String(), status.Containers[0]
}

// logged waits for a text in the pod's log.
func logged(t *testing.T, r *Runtime, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var out bytes.Buffer
		require.NoError(t, r.Logs(limited(t), uid, main, LogOptions{Follow: false}, to(&out)))
		return strings.Contains(out.String(), text)
	}, 10*time.Second, 2*time.Millisecond, text)
}

func TestPodSeesAContainerAndLeavesItsExitCode(t *testing.T) {
	r, s := newRuntime(t, `
echo $GREETING from $(hostname); echo to stderr >&2
test -c /dev/null && echo x > /dev/null && test -d /dev/shm && echo y > /dev/shm/file && test -e /dev/ptmx && echo devices
grep -q 1 /proc/sys/kernel/pid_max && ! echo 5 2>/dev/null > /proc/sys/kernel/panic && echo read only
awk 'BEGIN {while (i++ < 20000) printf "a"; print ""}' | tr -d '\n' | wc -c
awk 'BEGIN {while (i++ < 20000) printf "b"; print ""}'
exit 3`)
	_, err := r.Status(uid)
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, r.Create(limited(t), s))
	status, err := r.Status(uid)
	require.NoError(t, err)
	require.Equal(t, Created, status.Phase)
	for range 2 { // a pod that has ended can be started again
		require.NoError(t, r.Start(limited(t), uid, main))
		log, status := ended(t, r)
		require.Equal(t, 3, status.ExitCode)
		require.WithinDuration(t, time.Now(), status.Exited, 20*time.Second)
		for _, want := range []string{"hello from inside\n", "to stderr\n", "devices\n", "read only\n", "20000\n", strings.Repeat("b", 20000) + "\n"} {
			require.True(t, strings.Contains(log, want), "%.20s", want)
		}
	}
}

func TestLimitsReachTheCgroup(t *testing.T) {
	r, s := newRuntime(t, "")
	s = spec(t, s.Containers[0].Root, "sleep 100", "    resources: {limits: {cpu: 500m, memory: 64Mi}}\n")
	start(t, r, s)
	limits := shell(t, `cd /sys/fs/cgroup; cat memory%[1]s/memory.limit_in_bytes cpu%[1]s/cpu.cfs_quota_us cpu%[1]s/cpu.shares 2>/dev/null || cat ./%[1]s/memory.max ./%[1]s/cpu.max`, r.cgroups.container(uid, main))
	require.Contains(t, limits, "67108864")
	require.Contains(t, limits, "50000")
}

func TestStopIsPoliteThenFirm(t *testing.T) {
	r, s := newRuntime(t, `trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done`)
	start(t, r, s)
	logged(t, r, "up")
	require.NoError(t, r.Stop(limited(t), uid, -1))
	_, status := ended(t, r)
	require.Equal(t, 5, status.ExitCode)

	s = spec(t, s.Containers[0].Root, `trap '' TERM; echo deaf; while :; do sleep 0.01; done`, "")
	start(t, r, s)
	logged(t, r, "deaf") // after what the first run had logged
	began := time.Now()
	require.NoError(t, r.Stop(limited(t), uid, -1))
	require.InDelta(t, 2, time.Since(began).Seconds(), 1)
	_, status = ended(t, r)
	require.Equal(t, 137, status.ExitCode)
	require.NoError(t, r.Stop(limited(t), uid, -1), "a second time")
}

func TestFrozenPodDiesWithoutRunning(t *testing.T) {
	r, s := newRuntime(t, `echo up; i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; done`)
	count := func() string {
		data, err := os.ReadFile(filepath.Join(r.pod(uid).shm(), "count"))
		require.NoError(t, err)
		return string(data)
	}
	start(t, r, s)
	logged(t, r, "up")
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(r.pod(uid).shm(), "count")); return err == nil }, 5*time.Second, time.Millisecond)
	for range 20 {
		require.NoError(t, r.Freeze(limited(t), uid))
		require.NoError(t, r.Freeze(limited(t), uid), "a second time")
		status, err := r.Status(uid)
		require.NoError(t, err)
		require.Equal(t, Frozen, status.Phase)
		require.NoError(t, r.Thaw(limited(t), uid))
		require.NoError(t, r.Thaw(limited(t), uid), "a second time")
	}
	before := count()
	require.Eventually(t, func() bool { return count() != before }, 5*time.Second, time.Millisecond, "it runs again")
	require.NoError(t, r.Freeze(limited(t), uid))
	before = count()
	require.NoError(t, r.Kill(limited(t), uid))
	require.Equal(t, before, count(), "it ran after it was frozen")
	_, status := ended(t, r)
	require.Equal(t, 137, status.ExitCode)
	require.NoFileExists(t, r.container(uid, main).runc)
	require.NoDirExists(t, r.Freezer(uid, main).Path())
}

// The fence freezes a pod as a whole, above its containers, and isn't asked when the pod is removed.
func TestFencedPodDiesWithoutRunning(t *testing.T) {
	r, s := newRuntime(t, `echo up; i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; done`)
	start(t, r, s)
	logged(t, r, "up")
	at := filepath.Join(r.pod(uid).shm(), "count")
	require.Eventually(t, func() bool { _, err := os.Stat(at); return err == nil }, 5*time.Second, time.Millisecond)
	require.NoError(t, newFreezer(hierarchies, r.cgroups.pod(uid)).Freeze(limited(t)))
	before, err := os.ReadFile(at)
	require.NoError(t, err)
	require.NoError(t, r.Kill(limited(t), uid))
	after, err := os.ReadFile(at)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "it ran after it was frozen")
	require.NoError(t, r.Kill(limited(t), uid), "twice")
	require.NoDirExists(t, r.Freezer(uid, main).Path())
}

func TestPodOutlivesItsAgent(t *testing.T) {
	r, s := newRuntime(t, `i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.02; done`)
	data, err := json.Marshal(s)
	require.NoError(t, err)
	cmd := isolation.Command("agent")
	cmd.Env = append(cmd.Env, specVariable+"="+string(data), "NOTIFY_SOCKET=/run/nowhere")
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	oomScore := func(score string) { // of the agent; its unit gives it one of its own, which the pod must not inherit
		require.NoError(t, os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0o644))
	}
	oomScore("300")
	err = cmd.Start()
	oomScore("0")
	require.NoError(t, err)
	line, _ := bufio.NewReader(out).ReadString('\n')
	require.Equal(t, "started <nil>\n", line)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()

	all, err := r.List()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, Running, all[0].Phase)
	require.Equal(t, "tester", all[0].Name)
	var before bytes.Buffer
	require.NoError(t, r.Logs(limited(t), uid, main, LogOptions{Follow: false}, to(&before)))
	ticks := strings.Count(before.String(), "tick")
	logged(t, r, fmt.Sprintf("tick %d\n", ticks+10))
	for _, pid := range []int{monitorPid(t, r), all[0].Containers[0].Pid} {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		require.NoError(t, err)
		require.NotContains(t, string(environ), "NOTIFY_SOCKET")
	}
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", all[0].Containers[0].Pid))
	require.NoError(t, err)
	require.Equal(t, "0\n", string(score))
	require.NoError(t, r.Kill(limited(t), uid))
	_, status := ended(t, r)
	require.Equal(t, 137, status.ExitCode)
}

func TestPodThatCannotStartSaysWhyAndLeavesNothing(t *testing.T) {
	r, s := newRuntime(t, "")
	m := *s.Manifest
	m.pod.Spec.Containers[0].Command = []string{"no-such-program"}
	s.Manifest = &m
	require.NoError(t, r.Create(limited(t), s))
	err := r.Start(limited(t), uid, main)
	require.ErrorContains(t, err, "no-such-program")
	require.NoError(t, r.Kill(limited(t), uid))
	require.NoDirExists(t, r.Freezer(uid, main).Path())
	require.NoDirExists(t, r.container(uid, main).runc)

	s.NetNS = "/run/netns/none"
	require.NoError(t, r.Create(limited(t), s))
	require.Error(t, r.Start(limited(t), uid, main))
	s.UID = "../evil"
	require.ErrorContains(t, r.Create(limited(t), s), "can't be a container's id")
}

func TestPodWithoutItsMonitorIsFoundAndKilled(t *testing.T) {
	r, s := newRuntime(t, `trap '' PIPE; while :; do sleep 0.05; done`)
	start(t, r, s)
	shell(t, "kill -9 %d", monitorPid(t, r))
	status, err := r.Status(uid)
	require.NoError(t, err)
	require.Equal(t, Running, status.Phase)
	require.NoError(t, r.Kill(limited(t), uid))
	status, err = r.Status(uid)
	require.NoError(t, err)
	require.Equal(t, Exited, status.Phase)
	require.Equal(t, 137, status.Containers[0].ExitCode)
}

func TestCheckpointAndRestoreSayWhatIsNeeded(t *testing.T) {
	r, s := newRuntime(t, `sleep 100`)
	require.NoError(t, r.Create(limited(t), s))
	_, err := r.Checkpoint(uid)
	require.Error(t, err, "it doesn't run")
	require.NoError(t, r.Start(limited(t), uid, main))
	c, err := r.Checkpoint(uid)
	require.NoError(t, err)
	require.Len(t, c.Containers, 1)
	one := c.Containers[0]
	require.Equal(t, s.Containers[0].Root, one.Root)
	require.Len(t, one.Descriptors, 3)
	require.Contains(t, one.Descriptors[1], "pipe:")
	for _, path := range maskedFiles() {
		if _, err := os.Stat(path); err == nil {
			require.Equal(t, "/dev/null", one.External[path])
		}
	}
	require.DirExists(t, c.Memory["/dev/shm"])
	require.DirExists(t, one.Freezer.Path())
	_, err = r.Restore(limited(t), s, c.Record)
	require.ErrorContains(t, err, "runs here already")
	require.NoError(t, r.Kill(limited(t), uid))
	restore, err := r.Restore(limited(t), s, c.Record)
	require.NoError(t, err)
	require.Contains(t, restore.Containers[0].Command, containerID(uid, main))
}

// A loss of power leaves the record of a new pod empty, or half of it. Nothing of the pod runs then.
func TestRecordThatIsNotWholeIsNone(t *testing.T) {
	r, s := newRuntime(t, `sleep 100`)
	for _, left := range []int64{0, 10} {
		require.NoError(t, r.Create(limited(t), s))
		require.NoError(t, os.Truncate(r.pod(uid).spec(), left))
		_, err := r.Status(uid)
		require.ErrorIs(t, err, ErrNotFound)
		require.False(t, r.Ready(uid))
		all, err := r.List()
		require.NoError(t, err)
		require.Empty(t, all)
	}
	require.NoError(t, r.Create(limited(t), s), "it is made anew")
	require.NoError(t, r.Start(limited(t), uid, main))
	require.NoError(t, os.Truncate(r.pod(uid).spec(), 10))
	require.NoError(t, r.Remove(limited(t), uid), "all of it is found without")
	require.NoError(t, r.Create(limited(t), s))
}

// A monitor is in none of the cgroups by which systemd knows the agent's unit.
func TestMonitorIsApart(t *testing.T) {
	r, s := newRuntime(t, `sleep 100`)
	require.NoError(t, r.Create(limited(t), s))
	require.NoError(t, r.Start(limited(t), uid, main))
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", monitorPid(t, r)))
	require.NoError(t, err)
	apart := 0
	for line := range strings.Lines(string(groups)) {
		kind := strings.SplitN(line, ":", 3)[1]
		if kind == "" || kind == "name=systemd" {
			require.Contains(t, line, ":"+testConfig().CgroupParent+"/_monitors\n")
			apart++
		}
	}
	require.Positive(t, apart, "no hierarchy by which systemd could tell units: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
}

func monitorPid(t *testing.T, r *Runtime) int {
	t.Helper()
	pid, err := readPid(r.container(uid, main).conmonPid())
	require.NoError(t, err)
	return pid
}

// to collects the lines of a log.
func to(out *bytes.Buffer) func([]byte, time.Time) error {
	return func(lines []byte, _ time.Time) error { out.Write(lines); return nil }
}
