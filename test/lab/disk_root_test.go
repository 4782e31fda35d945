//go:build root

package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A full disk fills its site, and no other, nor the machine.
func TestDisksAreApart(t *testing.T) {
	noLeaks(t, "t-disk")
	o := testOptions("t-disk")
	o.Sites = 3
	o.Hosts = map[string]Host{"ams": {Disk: 48 << 20}, "fra": {Disk: 1 << 30}}
	l := up(t, o)
	require.Empty(t, inSite(t, l, "ams", "ls", "-A", "/var/lib/drover"))
	fill := "cd /var/lib/drover; head -c 100M /dev/zero > ballast; echo more > more; wc -c < ballast"
	out, err := l.Exec(t.Context(), "ams", "sh", "-c", fill).CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(out), "No space left on device")
	for _, site := range []string{"fra", "nyc", ClientSite} {
		require.Equal(t, "104857600", inSite(t, l, site, "sh", "-ec", fill+"; rm ballast"))
	}
	full, err := l.SiteStatus(t.Context(), "ams")
	require.NoError(t, err)
	require.EqualValues(t, 48<<20, full.Disk)
	require.InDelta(t, 48<<20, full.DiskUsed, 64<<10)
	empty, err := l.SiteStatus(t.Context(), "fra")
	require.NoError(t, err)
	require.Less(t, empty.DiskUsed, int64(200<<20))
	none, err := l.SiteStatus(t.Context(), "nyc")
	require.NoError(t, err)
	require.Zero(t, none.Disk+none.DiskUsed)
	left, err := loops(l.Dir())
	require.NoError(t, err)
	require.Len(t, left, 2)
	inSite(t, l, "ams", "sh", "-ec", "rm /var/lib/drover/ballast; echo enough > /var/lib/drover/more")
}

// The disk goes with its site also if the site is killed while a daemon's overlay, as a pod's, lies on it.
func TestDisksGoWithTheirSite(t *testing.T) {
	noLeaks(t, "t-dgone")
	o := testOptions("t-dgone")
	o.Hosts = map[string]Host{"ams": {Disk: 64 << 20}}
	for _, kill := range []bool{false, true} {
		l := up(t, o)
		inSite(t, l, "ams", "sh", "-ec", `cd /var/lib/drover; mkdir lower upper work merged
			mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
			setsid unshare -m sh -c 'exec 3> merged/open; exec sleep 1000' < /dev/null > /dev/null 2>&1 &
			until [ -e upper/open ]; do sleep 0.01; done`)
		if kill {
			init, err := l.init("ams")
			require.NoError(t, err)
			require.NoError(t, unix.Kill(init, unix.SIGKILL))
		}
		require.NoError(t, l.Down(t.Context()))
		left, err := loops(stateRoot)
		require.NoError(t, err)
		require.NotContains(t, strings.Join(left, " "), "t-dgone")
	}
}

func TestDiskWithoutLoopDevicesIsInMemory(t *testing.T) {
	t.Setenv("PATH", "") // no mkfs.ext4
	dir := t.TempDir()
	inScratchHost(t, func(t *testing.T) {
		require.NoError(t, mountDisk(filepath.Join(dir, "image"), leastDisk, filepath.Join(dir, "disk")))
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(filepath.Join(dir, "disk"), &st))
		require.EqualValues(t, unix.TMPFS_MAGIC, st.Type)
		require.EqualValues(t, leastDisk, int64(st.Blocks)*st.Bsize)
		err := os.WriteFile(filepath.Join(dir, "disk", "ballast"), make([]byte, leastDisk+1), 0o600)
		require.ErrorIs(t, err, unix.ENOSPC)
		require.NoError(t, unix.Unmount(filepath.Join(dir, "disk"), 0))
	})
	require.NoFileExists(t, filepath.Join(dir, "image"))
}

// A site's programs find fewer features than the machine has.
func TestCPUsAreMasked(t *testing.T) {
	noLeaks(t, "t-cpu")
	var flags []string
	for line := range strings.Lines(read(cpuInfo)) {
		if _, f, ok := cpuFlags(line); ok {
			flags = f
		}
	}
	require.Greater(t, len(flags), 2)
	mask := []string{flags[0], flags[len(flags)-1]}
	o := testOptions("t-cpu")
	o.Hosts = map[string]Host{"fra": {CPUMask: mask}}
	l := up(t, o)
	count := func(site, flag string) string {
		return inSite(t, l, site, "sh", "-c", "grep -E '^(flags|Features)' /proc/cpuinfo | grep -c -w -- "+flag+" || true")
	}
	for _, flag := range mask {
		require.Equal(t, "0", count("fra", flag))
		require.NotEqual(t, "0", count("ams", flag))
	}
	require.NotEqual(t, "0", count("fra", flags[1]))
	status, err := l.SiteStatus(t.Context(), "fra")
	require.NoError(t, err)
	require.Equal(t, mask, status.CPUMask)

	o = testOptions("t-cpu2")
	o.Hosts = map[string]Host{"fra": {CPUMask: []string{"avx9000"}}}
	_, err = Up(t.Context(), o, func(string) {})
	require.ErrorContains(t, err, "is no flag of this machine's CPU")
}
