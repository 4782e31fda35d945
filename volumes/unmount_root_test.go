//go:build root

package volumes

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestUnmountBelowTakesAllButTheDirectoryItself(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	tmpfs := func(path string) {
		require.NoError(t, os.MkdirAll(path, 0o755))
		require.NoError(t, unix.Mount("tmpfs", path, "tmpfs", 0, "size=1m"))
	}
	tmpfs(dir)
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	tmpfs(filepath.Join(dir, "a"))
	tmpfs(filepath.Join(dir, "a", "b b")) // on the first
	tmpfs(filepath.Join(dir, "a"))        // and over both
	tmpfs(dir + "-sibling")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir+"-sibling", 0)) })
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, unix.Mount("/dev/null", file, "", unix.MS_BIND, ""))
	open, err := os.Create(filepath.Join(dir, "a", "in-use"))
	require.NoError(t, err)
	defer open.Close()
	for range 2 {
		require.NoError(t, UnmountBelow(dir))
		mounts, err := mountsBelow(dir)
		require.NoError(t, err)
		require.Len(t, mounts, 1)
		require.Equal(t, dir, mounts[0].point)
	}
	_, err = open.WriteString("still there")
	require.NoError(t, err)
	mounts, err := mountsBelow(dir + "-sibling")
	require.NoError(t, err)
	require.Len(t, mounts, 1)
}
