//go:build root

package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inScratchHost runs f on a thread with network and mounts of its own, so that what f leaks there
// is nobody's trouble.
func inScratchHost(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	needRoot(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the namespaces end with the thread
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			t.Error(err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Error(err)
			return
		}
		f(t)
	}()
	<-done
}

// Every kind of leak is made, found, and no longer found when it is mended.
func TestLeaksAreFound(t *testing.T) {
	ip := func(args ...string) {
		out, err := exec.Command("ip", args...).CombinedOutput()
		require.NoError(t, err, "ip %v: %s", args, out)
	}
	points, err := hierarchies()
	require.NoError(t, err)
	group := filepath.Join(points[0], "drover-t-leaks")
	marked := exec.Command("sleep", "1000")
	marked.Env = []string{environmentKey + "=t-leaks"}
	grouped := exec.Command("sleep", "1000")
	table := &nftables.Table{Name: "t-leaks", Family: nftables.TableFamilyINet}
	nft := func(change func(c *nftables.Conn)) {
		c, err := nftables.New()
		require.NoError(t, err)
		change(c)
		require.NoError(t, c.Flush())
	}
	ended := func(cmd *exec.Cmd) {
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
	}
	netns := filepath.Join(t.TempDir(), "netns")
	file := filepath.Join(stateRoot, "t-leaks")

	cases := []struct {
		kind       string
		make, mend func()
	}{
		{"mount", func() { require.NoError(t, unix.Mount("x", "/mnt", "tmpfs", 0, "")) }, func() { require.NoError(t, unix.Unmount("/mnt", 0)) }},
		{"link", func() { ip("link", "add", "leak0", "type", "veth", "peer", "name", "leak1") }, func() { ip("link", "del", "leak0") }},
		{"address", func() { ip("addr", "add", "10.1.2.3/32", "dev", "lo") }, func() { ip("addr", "del", "10.1.2.3/32", "dev", "lo") }},
		{"route", func() { ip("route", "add", "blackhole", "10.9.9.0/24", "table", "4088") }, func() { ip("route", "del", "blackhole", "10.9.9.0/24", "table", "4088") }},
		{"route", func() { ip("-6", "route", "add", "blackhole", "fd99::/64") }, func() { ip("-6", "route", "del", "blackhole", "fd99::/64") }},
		{"rule", func() { ip("rule", "add", "iif", "lo", "lookup", "4088", "pref", "99") }, func() { ip("rule", "del", "pref", "99") }},
		{"nft", func() { nft(func(c *nftables.Conn) { c.AddTable(table) }) }, func() { nft(func(c *nftables.Conn) { c.DelTable(table) }) }},
		{"netns", func() {
			require.NoError(t, os.WriteFile(netns, nil, 0o600))
			require.NoError(t, unix.Mount("/proc/thread-self/ns/net", netns, "", unix.MS_BIND, ""))
		}, func() { require.NoError(t, unix.Unmount(netns, 0)) }},
		{"cgroup", func() { require.NoError(t, os.Mkdir(group, 0o755)) }, nil},
		{"process", func() {
			require.NoError(t, grouped.Start())
			require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(grouped.Process.Pid)), 0))
		}, func() { ended(grouped) }},
		{"process", func() { require.NoError(t, marked.Start()) }, func() { ended(marked) }},
		{"file", func() { require.NoError(t, os.MkdirAll(file, 0o700)) }, func() { require.NoError(t, os.Remove(file)) }},
	}
	inScratchHost(t, func(t *testing.T) {
		ip("link", "set", "lo", "up")
		for _, c := range cases {
			before, err := Snapshot()
			require.NoError(t, err)
			c.make()
			after, err := Snapshot()
			require.NoError(t, err)
			leaks := before.Diff(after)
			require.True(t, slices.ContainsFunc(leaks, func(l Leak) bool { return l.Kind == c.kind }), "%s isn't in %v", c.kind, leaks)
			if c.mend == nil {
				continue
			}
			c.mend()
			mended, err := Snapshot()
			require.NoError(t, err)
			require.Empty(t, slices.DeleteFunc(before.Diff(mended), func(l Leak) bool { return l.Kind == "file" && l.Name == stateRoot }))
		}
	})
	require.NoError(t, os.Remove(group))
	os.Remove(stateRoot) // unless another lab is there
}
