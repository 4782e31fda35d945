//go:build root

package offender

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/preflight"
	"github.com/drover-mesh/drover/test/isolation"
)

// play does what a role says, leaves a note that it has, and lives on.
func play(role string) int {
	if role == "child" {
		forever()
	}
	do, ok := roles()[role]
	if !ok {
		fmt.Println("no such role:", role)
		return 1
	}
	note := "ready"
	if err := do(); err != nil {
		note = err.Error()
	}
	if err := os.WriteFile("/note.new", []byte(note), 0o600); err != nil {
		return 1
	}
	if err := os.Rename("/note.new", "/note"); err != nil {
		return 1
	}
	forever()
	return 0
}

func forever() {
	for {
		_ = unix.Pause()
	}
}

// options say how a container differs from a pod's usual one.
type options struct {
	capabilities []string
	devices      bool                             // all of the host's may be opened
	before       func(t *testing.T, c *container) // is called when its root file system is there, and nothing runs
}

// pod is a pod of one container or more, which share a network.
type pod struct {
	netns      string
	containers []*container
}

// container is a container of runc's, like those of the agent.
type container struct {
	id, dir, disk string
	pod           *pod
	init          int
}

// pods counts them, for their names.
var pods atomic.Int64

// newPod makes the pod's network.
func newPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{netns: fmt.Sprintf("offender-%d", pods.Add(1))}
	shell(t, "ip netns add %[1]s; ip -n %[1]s link set lo up", p.netns)
	t.Cleanup(func() { shell(t, "ip netns del %s", p.netns) })
	return p
}

// run starts a container that plays a role, and waits until it does.
func (p *pod) run(t *testing.T, name, role string, o options) *container {
	t.Helper()
	c := &container{
		id: p.netns + "." + name, dir: filepath.Join("/run/offender", p.netns, name),
		disk: filepath.Join("/var/tmp", isolation.Name(), p.netns, name), pod: p,
	}
	p.containers = append(p.containers, c)
	self, err := os.Executable()
	require.NoError(t, err)
	shell(t, `mkdir -p %[1]s/bundle %[1]s/root %[1]s/shm %[2]s/upper %[2]s/work; cp %[3]s %[2]s/upper/offender
mount -t tmpfs -o mode=1777 shm %[1]s/shm
mount -t overlay overlay -o lowerdir=/,upperdir=%[2]s/upper,workdir=%[2]s/work %[1]s/root`, c.dir, c.disk, self)
	t.Cleanup(func() {
		c.end(t)
		shell(t, "umount %[1]s/root %[1]s/shm; rm -rf %[1]s %[2]s", c.dir, c.disk)
	})
	if o.before != nil {
		o.before(t, c)
	}
	config, err := json.Marshal(c.config(role, o))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(c.dir+"/bundle/config.json", config, 0o600))
	cmd := exec.Command("runc", "--root", c.dir+"/runc", "--log", c.dir+"/log", "run", "--detach", "--pid-file", c.dir+"/pid", "--bundle", c.dir+"/bundle", c.id)
	require.NoError(t, cmd.Run(), "%s", read(c.dir+"/log")) // all on /dev/null, which it hands on
	_, err = fmt.Sscan(read(c.dir+"/pid"), &c.init)
	require.NoError(t, err)
	eventually(t, role, func() bool { return read(c.disk+"/upper/note") != "" })
	require.Equal(t, "ready", read(c.disk+"/upper/note"))
	return c
}

func (c *container) config(role string, o options) map[string]any {
	capabilities := append([]string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}, o.capabilities...)
	sets := map[string]any{"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
	return map[string]any{
		"ociVersion": "1.0.2", "hostname": "pod", "root": map[string]any{"path": c.dir + "/root"},
		"process": map[string]any{
			"args": []string{"/offender"}, "env": []string{isolation.Environ(role), "GODEBUG=multipathtcp=0"}, "cwd": "/", "capabilities": sets,
			"rlimits": []map[string]any{{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 4096}},
		},
		"mounts": []map[string]any{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
			{"destination": "/dev/shm", "type": "bind", "source": c.dir + "/shm", "options": []string{"bind", "rprivate"}},
			{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": []string{"ro"}},
		},
		"linux": map[string]any{
			"cgroupsPath": c.cgroup(), "rootfsPropagation": "private",
			"resources":     map[string]any{"devices": []map[string]any{{"allow": o.devices, "access": "rwm"}}},
			"readonlyPaths": []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			"namespaces": []map[string]any{
				{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network", "path": "/run/netns/" + c.pod.netns},
			},
		},
	}
}

func (c *container) cgroup() string { return "/" + isolation.Name() + "/" + c.id }

func (c *container) freezer() freezer {
	if path := filepath.Join("/sys/fs/cgroup/freezer", c.cgroup()); exists(path) {
		return freezer(path)
	}
	return freezer(filepath.Join("/sys/fs/cgroup", c.cgroup()))
}

// look is what preflight finds in the pod.
func (p *pod) look(t *testing.T) preflight.Report {
	t.Helper()
	report, err := preflight.Scan(limited(t), p.target())
	require.NoError(t, err)
	return report
}

func (p *pod) target() preflight.Target {
	target := preflight.Target{NetNS: "/run/netns/" + p.netns}
	for _, c := range p.containers {
		target.Containers = append(target.Containers, preflight.Container{
			Name: strings.TrimPrefix(c.id, p.netns+"."), Init: c.init, Cgroups: []string{c.freezer().Path()}, Mounts: []string{"/dev/shm"},
		})
	}
	return target
}

// dump lets CRIU dump the container as a move does, and leaves it running.
func (c *container) dump(t *testing.T) error {
	t.Helper()
	var state struct {
		Descriptors []string `json:"external_descriptors"`
	}
	require.NoError(t, json.Unmarshal([]byte(read(filepath.Join(c.dir, "runc", c.id, "state.json"))), &state))
	shell(t, "rm -rf %[1]s/images %[1]s/work; mkdir %[1]s/images %[1]s/work", c.dir)
	ctx := limited(t)
	d, err := criu.StartDump(ctx, criu.DumpOptions{
		Pid: c.init, Root: c.dir + "/root", NetNS: "/run/netns/" + c.pod.netns, Freezer: c.freezer(),
		External: map[string]string{"/dev/shm": "/dev/shm"}, Tmpfs: map[string]string{"/dev/shm": c.dir + "/shm"},
		Descriptors: state.Descriptors, Images: c.dir + "/images", Work: c.dir + "/work",
		Watched: c.pod.look(t).Watched[strings.TrimPrefix(c.id, c.pod.netns+".")],
	})
	if err != nil {
		return err
	}
	if err := c.freezer().Freeze(ctx); err != nil {
		require.NoError(t, d.Cancel())
		require.NoError(t, c.freezer().thaw())
		return err
	}
	err = d.Run(ctx, nil, nil)
	require.NoError(t, c.freezer().thaw())
	return err
}

// end kills the container.
func (c *container) end(t *testing.T) {
	t.Helper()
	eventually(t, "the container's end", func() bool {
		_ = c.freezer().thaw()
		_ = exec.Command("runc", "--root", c.dir+"/runc", "delete", "--force", c.id).Run()
		pids := read(filepath.Join(c.freezer().Path(), "cgroup.procs"))
		for _, pid := range strings.Fields(pids) {
			var n int
			if _, err := fmt.Sscan(pid, &n); err == nil && n > 0 {
				_ = unix.Kill(n, unix.SIGKILL)
			}
		}
		return pids == ""
	})
}

// freezer is a cgroup that can be frozen, of version 1 or 2.
type freezer string

func (f freezer) Path() string { return string(f) }

func (f freezer) v2() bool { return exists(filepath.Join(string(f), "cgroup.freeze")) }

func (f freezer) Freeze(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := f.write("FROZEN", "1"); err != nil {
			return err
		}
		if frozen, err := f.Frozen(); err != nil || frozen {
			return err
		}
	}
	return ctx.Err()
}

func (f freezer) Frozen() (bool, error) {
	if f.v2() {
		return strings.Contains(read(filepath.Join(string(f), "cgroup.events")), "frozen 1"), nil
	}
	return read(filepath.Join(string(f), "freezer.state")) == "FROZEN\n", nil
}

func (f freezer) thaw() error { return f.write("THAWED", "0") }

func (f freezer) write(v1, v2 string) error {
	if f.v2() {
		return os.WriteFile(filepath.Join(string(f), "cgroup.freeze"), []byte(v2), 0)
	}
	return os.WriteFile(filepath.Join(string(f), "freezer.state"), []byte(v1), 0)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
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
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
