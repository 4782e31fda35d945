//go:build root

package criu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/isolation"
)

const (
	clientNS = "drover-criu-client"
	podID    = "drover-criu-pod"
)

// site is one host of two: its own runc, cgroups, overlay and network namespace of the pod.
type site struct {
	name, dir string
	move      int
}

func newSites(t *testing.T) (*site, *site) {
	t.Helper()
	shell(t, "ip netns del %[1]s 2>/dev/null || true; ip netns add %[1]s; ip -n %[1]s link set lo up; ip -n %[1]s addr add %[2]s/32 dev lo", clientNS, clientAddress)
	sites := [2]*site{}
	for i, name := range []string{"a", "b"} {
		s := &site{name: name, dir: filepath.Join("/run/drover-criu", name)}
		sites[i] = s
		shell(t, "mkdir -p %[1]s/bundle %[1]s/exits %[1]s/shm %[2]s; mount -t tmpfs shm %[1]s/shm", s.dir, s.disk())
		t.Cleanup(func() {
			s.end(t)
			shell(t, "umount %[1]s/root || true; umount %[1]s/shm; rm -rf %[1]s; rm -rf %[2]s", s.dir, s.disk())
			shell(t, "ip netns del %s 2>/dev/null || true", s.netns())
			shell(t, "for d in /sys/fs/cgroup%[1]s /sys/fs/cgroup/*%[1]s; do [ ! -d $d ] || rmdir $d; done", s.cgroup())
		})
		s.mount(t)
	}
	return sites[0], sites[1]
}

func (s *site) netns() string  { return "drover-criu-" + s.name }
func (s *site) cgroup() string { return "/" + isolation.Name() + "/" + s.name }

// disk is for what can't lie on a tmpfs: an overlay's upper layer.
func (s *site) disk() string { return filepath.Join("/var/tmp", isolation.Name(), s.name) }

func (s *site) freezer() testFreezer {
	return testFreezer(filepath.Join("/sys/fs/cgroup/freezer", s.cgroup()))
}

// mount makes the root file system: the host's own, which has all libraries, below an upper layer with our program.
func (s *site) mount(t *testing.T) {
	shell(t, `umount %[1]s/root 2>/dev/null || true
d=%[2]s; mkdir -p $d/upper $d/work %[1]s/root
mount -t overlay overlay -o lowerdir=/,upperdir=$d/upper,workdir=$d/work %[1]s/root`, s.dir, s.disk())
}

// connect makes the pod's network namespace anew: sockets of a pod that was here linger in the old one.
func (s *site) connect(t *testing.T) {
	shell(t, `ip netns del %[1]s 2>/dev/null || true; ip -n %[2]s link del to-%[3]s 2>/dev/null || true
ip netns add %[1]s
ip link add to-%[3]s netns %[2]s address 02:00:00:00:07:01 type veth peer name eth0 netns %[1]s address 02:00:00:00:07:05
ip -n %[1]s link set lo up; ip -n %[1]s link set eth0 up; ip -n %[2]s link set to-%[3]s up
ip -n %[1]s addr add %[4]s/32 dev eth0; ip -n %[1]s route add %[5]s dev eth0
ip -n %[1]s neigh add %[5]s lladdr 02:00:00:00:07:01 dev eth0 nud permanent
ip -n %[2]s neigh add %[4]s lladdr 02:00:00:00:07:05 dev to-%[3]s nud permanent`, s.netns(), clientNS, s.name, podAddress, clientAddress)
}

// attract leads the client's packets here.
func (s *site) attract(t *testing.T) {
	shell(t, "ip -n %s route replace %s/32 dev to-%s src %s", clientNS, podAddress, s.name, clientAddress)
}

// mute lets no packet of the pod out any more.
func (s *site) mute() error {
	return exec.Command("ip", "-n", s.netns(), "route", "replace", "blackhole", clientAddress).Run()
}

// unmute takes mute back.
func (s *site) unmute(t *testing.T) {
	shell(t, "ip -n %s route replace %s dev eth0", s.netns(), clientAddress)
}

func (s *site) bundle(t *testing.T) {
	config := map[string]any{
		"ociVersion": "1.0.2", "hostname": "pod", "root": map[string]any{"path": s.dir + "/root"},
		"process":     map[string]any{"args": []string{"/pod"}, "env": []string{isolation.Environ("pod")}, "cwd": "/"},
		"annotations": map[string]any{"org.criu.config": s.dir + "/criu.conf"},
		"mounts": []map[string]any{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev/shm", "type": "bind", "source": s.dir + "/shm", "options": []string{"bind", "rprivate"}},
		},
		"linux": map[string]any{
			"cgroupsPath": s.cgroup(), "rootfsPropagation": "private",
			"namespaces": []map[string]any{
				{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network", "path": "/run/netns/" + s.netns()},
			},
		},
	}
	data, err := json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.dir+"/bundle/config.json", data, 0o600))
}

func (s *site) command() []string {
	runc, _ := exec.LookPath("runc")
	conmon, _ := exec.LookPath("conmon")
	return []string{
		conmon, "--cid", podID, "--cuuid", podID, "--runtime", runc, "--runtime-arg=--root", "--runtime-arg=" + s.dir + "/runc",
		"--runtime-arg=--log", "--runtime-arg=" + s.dir + "/runc.log", "--runtime-arg=--log-format", "--runtime-arg=json",
		"--bundle", s.dir + "/bundle", "--container-pidfile", s.dir + "/pid", "--conmon-pidfile", s.dir + "/conmon.pid",
		"--log-path", "k8s-file:" + s.dir + "/log", "--exit-dir", s.dir + "/exits", "--full-attach",
	}
}

// start runs a pod from its beginning, with a client connected.
func (s *site) start(t *testing.T) *client {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	shell(t, "cp %s %s/upper/pod", self, s.disk())
	s.mount(t)
	s.connect(t)
	s.bundle(t)
	require.NoError(t, os.WriteFile(s.dir+"/shm/shared", []byte("shared memory"), 0o640))
	args := s.command()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, string(out))
	eventually(t, "container created", func() bool { return exists(s.dir + "/pid") })
	shell(t, "runc --root %s/runc start %s", s.dir, podID)
	eventually(t, "pod ready", func() bool {
		log, _ := os.ReadFile(s.dir + "/log")
		return strings.Contains(string(log), "ready ")
	})
	s.attract(t)
	c := dial(t)
	c.ask(t)
	return c
}

// dump says how to dump the pod that runs here.
func (s *site) dump(t *testing.T) DumpOptions {
	t.Helper()
	var state struct {
		Pid         int      `json:"init_process_pid"`
		Descriptors []string `json:"external_descriptors"`
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "runc", podID, "state.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &state))
	s.move++
	work := fmt.Sprintf("%s/move-%d", s.dir, s.move)
	shell(t, "mkdir -p %[1]s/images %[1]s/work", work)
	return DumpOptions{
		Pid: state.Pid, Root: s.dir + "/root", NetNS: "/run/netns/" + s.netns(), Freezer: s.freezer(),
		External: map[string]string{"/dev/shm": "/dev/shm"}, Tmpfs: map[string]string{"/dev/shm": s.dir + "/shm"},
		Descriptors: state.Descriptors, Watched: []string{watchedDir}, Images: work + "/images", Work: work + "/work",
		Apart: apart(t),
	}
}

// pack keeps the files as they are when all is dumped: some have names then that CRIU lends them.
func (s *site) pack() error {
	return exec.Command("sh", "-ec", fmt.Sprintf("rm -rf %[1]s/dumped; cp -a %[1]s/upper %[1]s/dumped", s.disk())).Run()
}

// prepare makes all that a restore from those images needs here; from is where the pod comes from.
func (s *site) prepare(t *testing.T, from *site, images string) RestoreOptions {
	t.Helper()
	s.end(t)
	shell(t, "umount %[1]s/root; rm -rf %[2]s; mkdir -p %[2]s; cp -a %[3]s/dumped %[2]s/upper", s.dir, s.disk(), from.disk())
	shell(t, "umount %[1]s/shm; mount -t tmpfs shm %[1]s/shm", s.dir)
	s.mount(t)
	s.connect(t)
	s.bundle(t)
	s.move++
	work := fmt.Sprintf("%s/move-%d", s.dir, s.move)
	shell(t, "mkdir -p %[1]s/work; cp -a %[2]s %[1]s/images", work, images)
	return RestoreOptions{
		Images: work + "/images", Work: work + "/work", Gate: s.disk() + "/gate.sh", Command: append(apart(t), s.command()...), Env: environment(), MonitorPid: s.dir + "/conmon.pid",
		CRIUConfig: s.dir + "/criu.conf", Cgroup: string(s.freezer()), RuntimeLog: s.dir + "/runc.log",
		Tmpfs: map[string]string{"/dev/shm": s.dir + "/shm"},
	}
}

// end removes whatever of the pod is here, as the pod runtime does.
func (s *site) end(t *testing.T) {
	t.Helper()
	eventually(t, "the pod's end", func() bool {
		left, err := killCgroup(string(s.freezer()))
		require.NoError(t, err)
		if left > 0 {
			require.NoError(t, s.freezer().thaw())
		}
		return left == 0
	})
	_ = unix.Unmount(filepath.Join(s.dir, "runc", podID, "criu-root"), unix.MNT_DETACH)
	_ = exec.Command("runc", "--root", s.dir+"/runc", "delete", "--force", podID).Run()
	shell(t, "rm -rf %[1]s/runc/* %[1]s/pid %[1]s/conmon.pid %[1]s/runc.log", s.dir)
}

// clean proves that nothing of a restore is left but what end removes.
func (s *site) clean(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), ".criu")
	require.NotContains(t, string(mounts), "criu-root")
	yards := shell(t, "cat %s/move-*/work/restore.log 2>/dev/null | grep -ao '/tmp/.criu.mntns.[A-Za-z0-9]*' | sort -u || true", s.dir)
	for _, yard := range strings.Fields(yards) {
		require.NoDirExists(t, yard)
	}
	require.Empty(t, strings.TrimSpace(shell(t, "cat %s/cgroup.procs 2>/dev/null || true", string(s.freezer()))))
	require.Empty(t, shell(t, "ps -eo args | grep -e '[g]ate.sh' -e '[c]riu: restore' -e '[c]riu swrk' || true"))
}

// testFreezer is a cgroup of the v1 freezer.
type testFreezer string

func (f testFreezer) Path() string { return string(f) }

func (f testFreezer) Freeze(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := os.WriteFile(filepath.Join(string(f), "freezer.state"), []byte("FROZEN"), 0); err != nil {
			return err
		}
		if frozen, err := f.Frozen(); err != nil || frozen {
			return err
		}
	}
	return ctx.Err()
}

func (f testFreezer) Frozen() (bool, error) {
	state, err := os.ReadFile(filepath.Join(string(f), "freezer.state"))
	return string(state) == "FROZEN\n", err
}

func (f testFreezer) thaw() error {
	return os.WriteFile(filepath.Join(string(f), "freezer.state"), []byte("THAWED"), 0)
}

func shell(t *testing.T, format string, args ...any) string {
	t.Helper()
	script := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	require.NoError(t, err, "%s: %s", script, out)
	return string(out)
}

// eventually waits for what the kernel has no event for.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 10*time.Second, 2*time.Millisecond, what)
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var errStop = errors.New("stop here")
