//go:build root

package lab

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
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
	points, err := openHierarchies()
	require.NoError(t, err)
	group := filepath.Join(points[0], cgroupOf("t-leaks"))
	marked := exec.Command("sleep", "2222")
	marked.Env = []string{environmentKey + "=t-leaks"}
	grouped := exec.Command("sleep", "1111")
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
	var disk *os.File

	cases := []struct {
		kind, name string
		make, mend func()
	}{
		{"mount", "/mnt", func() { require.NoError(t, unix.Mount("x", "/mnt", "tmpfs", 0, "")) }, func() { require.NoError(t, unix.Unmount("/mnt", 0)) }},
		{"loop", file, func() {
			require.NoError(t, os.MkdirAll(file, 0o700))
			disk, err = makeDisk(filepath.Join(file, "disk.img"), leastDisk)
			require.NoError(t, err)
		}, func() { require.NoError(t, errors.Join(disk.Close(), os.RemoveAll(file))) }},
		{"link", "leak0", func() { ip("link", "add", "leak0", "type", "veth", "peer", "name", "leak1") }, func() { ip("link", "del", "leak0") }},
		{"address", "10.1.2.3", func() { ip("addr", "add", "10.1.2.3/32", "dev", "lo") }, func() { ip("addr", "del", "10.1.2.3/32", "dev", "lo") }},
		{"route", "10.9.9.0", func() { ip("route", "add", "blackhole", "10.9.9.0/24", "table", "4088") }, func() { ip("route", "del", "blackhole", "10.9.9.0/24", "table", "4088") }},
		{"route", "fd99::", func() { ip("-6", "route", "add", "blackhole", "fd99::/64") }, func() { ip("-6", "route", "del", "blackhole", "fd99::/64") }},
		{"rule", "4088", func() { ip("rule", "add", "iif", "lo", "lookup", "4088", "pref", "99") }, func() { ip("rule", "del", "pref", "99") }},
		{"nft", "t-leaks", func() { nft(func(c *nftables.Conn) { c.AddTable(table) }) }, func() { nft(func(c *nftables.Conn) { c.DelTable(table) }) }},
		{"netns", netns, func() {
			require.NoError(t, os.WriteFile(netns, nil, 0o600))
			require.NoError(t, unix.Mount("/proc/thread-self/ns/net", netns, "", unix.MS_BIND, ""))
		}, func() { require.NoError(t, unix.Unmount(netns, 0)) }},
		{"cgroup", group, func() { require.NoError(t, os.Mkdir(group, 0o755)) }, func() { require.NoError(t, os.Remove(group)) }},
		{"process", "sleep 1111", func() {
			require.NoError(t, os.Mkdir(group, 0o755))
			require.NoError(t, grouped.Start())
			require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(grouped.Process.Pid)), 0))
		}, func() { ended(grouped); require.NoError(t, os.Remove(group)) }},
		{"process", "sleep 2222", func() { require.NoError(t, marked.Start()) }, func() { ended(marked) }},
		{"file", file, func() { require.NoError(t, os.MkdirAll(file, 0o700)) }, func() { require.NoError(t, os.Remove(file)) }},
	}
	inScratchHost(t, func(t *testing.T) {
		ip("link", "set", "lo", "up")
		for _, c := range cases {
			before, err := Snapshot()
			require.NoError(t, err)
			c.make()
			after, err := Snapshot()
			require.NoError(t, err)
			// Other labs may come and go meanwhile, so look for this one's.
			made := func(l Leak) bool { return l.Kind == c.kind && strings.Contains(l.Name, c.name) }
			require.True(t, slices.ContainsFunc(before.Diff(after), made), "%s %s isn't in %v", c.kind, c.name, before.Diff(after))
			c.mend()
			mended, err := Snapshot()
			require.NoError(t, err)
			require.False(t, slices.ContainsFunc(before.Diff(mended), made), "%s %s is still there", c.kind, c.name)
		}
	})
	os.Remove(stateRoot) // unless another lab is there
}
