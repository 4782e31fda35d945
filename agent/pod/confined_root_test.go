//go:build root

package pod

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// specOf gives a pod of that spec whose first container runs a script; image says what its image does.
func specOf(t *testing.T, root, podSpec, container, script string, image ImageConfig) Spec {
	t.Helper()
	indent := func(text, by string) string {
		return by + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by) + "\n"
	}
	m, err := ParseManifest([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: tester, labels: {app: x}}\nspec:\n  hostname: inside\n" + indent(podSpec, "  ") +
		"  containers:\n  - name: main\n    image: host\n    command: [sh, -c]\n    args:\n    - |\n" + indent(script, "      ") + indent(container, "    ")))
	require.NoError(t, err)
	return Spec{
		UID: uid, Name: "tester", Manifest: m, NetNS: "/run/netns/drover-pod-test", Address: netip.MustParseAddr("10.88.0.9"),
		Containers: []Container{{Name: main, Root: root, Image: image}},
	}
}

// volumeOf makes a volume's directory that goes with the test.
func volumeOf(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "drover-pod-volume-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o777))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// output runs the pod to its end, which has to be a good one.
func output(t *testing.T, r *Runtime, s Spec) string {
	t.Helper()
	start(t, r, s)
	log, status := ended(t, r)
	require.Zero(t, status.ExitCode, log)
	return log
}

func TestContainerRunsAsItsManifestSays(t *testing.T) {
	r, s := newRuntime(t, "")
	s = specOf(t, s.Containers[0].Root, `
securityContext:
  runAsUser: 4000
  runAsGroup: 4001
  supplementalGroups: [4002]
  fsGroup: 4003
  sysctls: [{name: net.ipv4.tcp_keepalive_time, value: "77"}, {name: kernel.shmmni, value: "99"}]
hostAliases: [{ip: 10.0.0.9, hostnames: [db]}]
dnsPolicy: None
dnsConfig: {nameservers: [10.0.0.53], searches: [example.com]}
volumes: [{name: disk}, {name: fast, emptyDir: {medium: Memory, sizeLimit: 8Mi}}]`, `
workingDir: /new/dir
resources: {limits: {memory: 64Mi, cpu: 250m}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
volumeMounts: [{name: disk, mountPath: /disk}, {name: fast, mountPath: /fast}, {name: disk, mountPath: /ro, readOnly: true}]`, `
echo "id $(id -u) $(id -g) $(id -G)"; pwd
grep -e ^Cap -e ^NoNewPrivs -e ^Seccomp: /proc/self/status
echo "env $IP $IMAGE $HOSTNAME"
cat /proc/sys/net/ipv4/tcp_keepalive_time /proc/sys/kernel/shmmni
touch /x 2>&1; touch /ro/x 2>&1; touch /disk/x /fast/x && stat -c "%n %u %g %a" /disk /fast /disk/x
df -k --output=size /fast | tail -1; stat -f -c %T /fast
cat /etc/hosts /etc/hostname /etc/resolv.conf
mount -t tmpfs x /disk 2>&1 || unshare -U true 2>&1; echo > /dev/stderr && echo done`,
		ImageConfig{User: "daemon", WorkingDir: "/usr", Env: []string{"IMAGE=yes"}})
	s.Volumes = map[string]string{"disk": volumeOf(t)}
	start(t, r, s)
	weight := shell(t, "cat /sys/fs/cgroup/cpu%[1]s/cpu.shares 2>/dev/null || cat /sys/fs/cgroup%[1]s/cpu.weight", r.cgroups.pod(uid))
	require.Contains(t, []string{"256\n", "10\n"}, weight, "the pod's, against others")
	log, status := ended(t, r)
	require.Zero(t, status.ExitCode, log)
	for _, want := range []string{
		"id 4000 4001 4001 4002 4003\n", "/new/dir\n",
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapBnd:\t0000000000000400\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n",
		"env 10.88.0.9 yes inside\n", "77\n99\n",
		"'/x': Read-only file system\n", "'/ro/x': Read-only file system\n",
		"/disk 0 4003 2777\n", "/fast 0 4003 3777\n", "/disk/x 4000 4003 644\n", "8192\ntmpfs\n",
		"10.88.0.9\tinside\n", "10.0.0.9\tdb\n", "inside\nnameserver 10.0.0.53\nsearch example.com\n",
		"Operation not permitted\n", "done\n",
	} {
		require.Contains(t, log, want)
	}
}

func TestImageSaysWhatTheManifestLeavesOpen(t *testing.T) {
	r, s := newRuntime(t, "")
	s = specOf(t, s.Containers[0].Root, "", "", "x", ImageConfig{})
	s.Manifest.pod.Spec.Containers[0].Command, s.Manifest.pod.Spec.Containers[0].Args = nil, nil
	s.Containers[0].Image = ImageConfig{
		Entrypoint: []string{"sh", "-c"}, User: "daemon:www-data", WorkingDir: "/usr", Env: []string{"A=b", "PATH=/usr/bin:/bin"},
		Cmd: []string{`id; pwd; echo $A $PATH; grep -e ^CapBnd -e ^NoNewPrivs -e ^Seccomp: /proc/self/status; sed -n 's/.*dns/dns/p' /etc/resolv.conf; cat /etc/hostname; touch /etc/x 2>&1; exit 0`},
	}
	log := output(t, r, s)
	for _, want := range []string{
		"uid=1(daemon) gid=33(www-data)", "/usr\n", "b /usr/bin:/bin\n", "CapBnd:\t00000000a80425fb\n", "NoNewPrivs:\t0\n", "Seccomp:\t2\n", "inside\n", "Permission denied",
	} {
		require.Contains(t, log, want)
	}
}

func TestUnconfinedAndOwnSeccompProfiles(t *testing.T) {
	r, s := newRuntime(t, "")
	root := s.Containers[0].Root
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(r.seccompDir())) })
	const script = "grep ^Seccomp: /proc/self/status; mkdir /tmp/new.$$ 2>&1 && echo made; exit 0"
	s = specOf(t, root, "", "securityContext: {seccompProfile: {type: Unconfined}}", script, ImageConfig{})
	require.Contains(t, output(t, r, s), "Seccomp:\t0\nmade\n")

	s = specOf(t, root, "", "securityContext: {seccompProfile: {type: Localhost, localhostProfile: own/x.json}}", script, ImageConfig{})
	require.ErrorContains(t, r.Create(limited(t), s), "creating pod tester: container main: reading seccomp profile own/x.json of this node: ")
	require.NoError(t, os.MkdirAll(filepath.Join(r.seccompDir(), "own"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(r.seccompDir(), "own/x.json"),
		[]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}`), 0o600))
	log := output(t, r, s)
	require.Contains(t, log, "Seccomp:\t2\n")
	require.Contains(t, log, "Operation not permitted")
}

func TestSubPathsAreBoundAndStayWithinTheirVolume(t *testing.T) {
	r, s := newRuntime(t, "")
	root, dir := s.Containers[0].Root, volumeOf(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "conf"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "conf/app.ini"), []byte("setting\n"), 0o644))
	mounts := func(subPath string) Spec {
		s := specOf(t, root, "volumes: [{name: v}]", fmt.Sprintf(`
volumeMounts:
- {name: v, mountPath: /etc/app.ini, subPath: conf/app.ini, readOnly: true}
- {name: v, mountPath: /var/run/made, subPath: %s}`, subPath),
			"cat /etc/app.ini; echo x 2>&1 >> /etc/app.ini; echo written > /var/run/made/file; ls -d /var/run/made/*; exit 0", ImageConfig{})
		s.Volumes = map[string]string{"v": dir}
		return s
	}
	for range 2 { // a second start binds anew
		log := output(t, r, mounts("new/deep"))
		require.Contains(t, log, "setting\n")
		require.Contains(t, log, "Read-only file system")
		require.Contains(t, log, "/var/run/made/file\n")
	}
	written, err := os.ReadFile(filepath.Join(dir, "new/deep/file"))
	require.NoError(t, err)
	require.Equal(t, "written\n", string(written))

	secret := rootWith(t, map[string]string{"secret": "x"})
	for name, target := range map[string]string{"absolute": secret, "up": strings.Repeat("../", 20) + secret} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
		s := mounts(name)
		require.NoError(t, r.Create(limited(t), s))
		require.ErrorContains(t, r.Start(limited(t), uid, main), "starting container main: path "+name+" of volume v: it leads out of the volume")
		require.NoFileExists(t, filepath.Join(secret, "file"))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	s = mounts("file/below")
	require.NoError(t, r.Create(limited(t), s))
	require.ErrorContains(t, r.Start(limited(t), uid, main), "not a directory")
}

func TestVolumesBelongToTheirGroup(t *testing.T) {
	dir := volumeOf(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sub/file"), nil, 0o600))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	list := func() string {
		return shell(t, "cd %s; stat -c '%%n %%u %%g %%a' . sub sub/file link /etc/passwd", dir)
	}
	require.NoError(t, own(dir, 4003, false))
	require.Equal(t, ". 0 4003 2775\nsub 0 4003 2770\nsub/file 0 4003 660\nlink 0 4003 777\n/etc/passwd 0 0 644\n", list())
	shell(t, "chgrp 0 %s/sub/file", dir)
	require.NoError(t, own(dir, 4003, true))
	require.Contains(t, list(), "sub/file 0 0 660\n", "its root is right")
	before := shell(t, "stat -c %%Z %s/sub", dir)
	require.NoError(t, own(dir, 4003, false))
	require.Contains(t, list(), "sub/file 0 4003 660\n")
	require.Equal(t, before, shell(t, "stat -c %%Z %s/sub", dir), "what is right is not touched")
}

func TestLimitsGiveWayToDumpAndRestore(t *testing.T) {
	r, s := newRuntime(t, "")
	s = specOf(t, s.Containers[0].Root, "", "resources: {limits: {memory: 64Mi, cpu: 250m}, requests: {cpu: 125m}}", "sleep 100", ImageConfig{})
	limits := func() string {
		return shell(t, `cd /sys/fs/cgroup; [ ! -d cpu ] || for f in memory%[1]s/memory.limit_in_bytes cpu%[1]s/cpu.cfs_quota_us cpu%[1]s/cpu.shares cpu%[2]s/cpu.shares; do cat ./$f; done
[ -d cpu ] || cat ./%[1]s/memory.max ./%[1]s/cpu.max ./%[1]s/cpu.weight ./%[2]s/cpu.weight`, r.cgroups.container(uid, main), r.cgroups.pod(uid))
	}
	require.NoError(t, r.Create(limited(t), s))
	require.True(t, r.Settled(uid))
	require.NoError(t, r.Remove(limited(t), uid))
	_, err := r.Restore(limited(t), s, Record{Containers: []ContainerRecord{{Name: main, Live: true, Starts: 1}}})
	require.NoError(t, err)
	require.False(t, r.Settled(uid))
	s, err = r.Spec(uid)
	require.NoError(t, err)
	require.NoError(t, r.monitor(limited(t), s, main)) // stands for the restore
	require.NotContains(t, limits(), "67108864")
	require.NotContains(t, limits(), "25000")
	for range 2 {
		require.NoError(t, r.Settle(limited(t), uid))
		require.True(t, r.Settled(uid))
		require.Contains(t, []string{"67108864\n25000\n128\n128\n", "67108864\n25000 100000\n5\n5\n"}, limits())
	}
	require.NoError(t, r.Hurry(uid)) // before a dump
	require.False(t, r.Settled(uid))
	require.Contains(t, []string{"67108864\n-1\n262144\n262144\n", "67108864\nmax 100000\n10000\n10000\n"}, limits())
	require.NoError(t, r.Settle(limited(t), uid))
	require.Contains(t, []string{"67108864\n25000\n128\n128\n", "67108864\n25000 100000\n5\n5\n"}, limits())
	require.NoError(t, r.Kill(limited(t), uid))
	require.NoError(t, r.Start(limited(t), uid, main))
	require.Contains(t, limits(), "25000", "a later start has them from its beginning")
}

func TestStreamsBelongToTheContainersUser(t *testing.T) {
	r, s := newRuntime(t, "")
	s = specOf(t, s.Containers[0].Root, "securityContext: {runAsUser: 4000}", "", "echo up > /dev/stderr; sleep 100 & wait", ImageConfig{})
	start(t, r, s)
	logged(t, r, "up")
	status, err := r.Status(uid)
	require.NoError(t, err)
	owners := func() string {
		return shell(t, "stat -L -c %%u /proc/%d/fd/1 /proc/%[1]d/fd/2", status.Containers[0].Pid)
	}
	require.Equal(t, "4000\n4000\n", owners(), "runc's doing")
	shell(t, "chown 0 /proc/%d/fd/1 /proc/%[1]d/fd/2", status.Containers[0].Pid) // as a restore leaves them
	require.Equal(t, "0\n0\n", owners())
	for range 2 {
		require.NoError(t, r.OwnStreams(uid))
		require.Equal(t, "4000\n4000\n", owners())
	}
	require.Equal(t, "0\n", shell(t, "stat -c %%u /dev/null"), "nothing but pipes")
	require.NoError(t, r.Kill(limited(t), uid))
	require.NoError(t, r.OwnStreams(uid), "nothing runs")
}
