//go:build root

package volumes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/state"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root: run make test")
	}
}

func loadSample(t testing.TB, s *Store) []state.Digest {
	t.Helper()
	image, err := load(t, s, "sample", bytes.NewReader(sampleTar(t)))
	require.NoError(t, err)
	return []state.Digest{image.Digest}
}

// mounted mounts a pod's root and sees to it that the test leaves no mount.
func mounted(t testing.TB, s *Store, uid string, lowers []state.Digest) Root {
	t.Helper()
	root, err := s.Mount(t.Context(), uid, lowers)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Unmount(uid)) })
	return root
}

func TestMountTwiceAndUnmountTwice(t *testing.T) {
	needRoot(t)
	s, err := OpenStore(filepath.Join(t.TempDir(), `a store, with: a\colon`))
	require.NoError(t, err)
	lowers := loadSample(t, s)
	root := mounted(t, s, "pod-1", lowers)
	require.Equal(t, "root", read(t, root.Path, "etc/passwd"))
	again, err := s.Mount(t.Context(), "pod-1", lowers)
	require.NoError(t, err)
	require.Equal(t, root, again)
	mounts, err := mountsBelow(s.dir)
	require.NoError(t, err)
	require.Len(t, mounts, 1)
	require.ErrorIs(t, s.RemoveRoot("pod-1"), ErrInUse)
	require.NoError(t, s.Unmount("pod-1"))
	require.NoError(t, s.Unmount("pod-1"))
	require.NoError(t, s.Unmount("never-was"))
	require.NoError(t, s.RemoveRoot("pod-1"))
	require.NoDirExists(t, filepath.Dir(root.Path))
	require.Equal(t, "root", read(t, s.layerPath(lowers[0]), "etc/passwd"))
	_, err = s.Mount(t.Context(), "../pod", lowers)
	require.ErrorContains(t, err, "pod UID")
	_, err = s.Mount(t.Context(), "pod-1", []state.Digest{digestOf(nil)})
	require.ErrorIs(t, err, ErrNotFound)
}

func TestMountShowsTheOwnerAndModeOfTheLayersRoot(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	top := directory("./")
	top.Mode = 0o711
	image, err := load(t, s, "x", bytes.NewReader(tarOf(t, top, regular("f", "x"))))
	require.NoError(t, err)
	root := mounted(t, s, "pod-1", []state.Digest{image.Digest})
	info, err := os.Stat(root.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o711), info.Mode().Perm())
}

func TestUnmountRefusesWhatIsInUse(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	root := mounted(t, s, "pod-1", loadSample(t, s))
	open, err := os.Open(filepath.Join(root.Path, "etc/passwd"))
	require.NoError(t, err)
	require.ErrorIs(t, s.Unmount("pod-1"), ErrInUse)
	require.NoError(t, open.Close())

	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600))
	inside := filepath.Join(root.Path, "etc")
	require.NoError(t, unix.Mount(outside, inside, "", unix.MS_BIND, ""))
	err = s.Unmount("pod-1")
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, inside)
	require.NoError(t, unix.Unmount(inside, 0))
	require.NoError(t, s.Unmount("pod-1"))
	require.FileExists(t, filepath.Join(outside, "precious"))
}

func TestRemoveNeverCrossesAMount(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	root, err := s.Prepare(t.Context(), "pod-1", loadSample(t, s))
	require.NoError(t, err)
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600))
	point := filepath.Join(root.Upper, "a/b")
	require.NoError(t, os.MkdirAll(point, 0o755))
	require.NoError(t, unix.Mount(outside, point, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	require.ErrorIs(t, s.RemoveRoot("pod-1"), ErrInUse)
	require.ErrorIs(t, removeTree(root.Upper), ErrInUse, "also if the list of mounts had missed it")
	require.FileExists(t, filepath.Join(outside, "precious"))
	require.NoError(t, unix.Unmount(point, 0))
	require.NoError(t, s.RemoveRoot("pod-1"))
	require.FileExists(t, filepath.Join(outside, "precious"))
}

func TestMountIsPrivate(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	root := mounted(t, s, "pod-1", loadSample(t, s))
	out, err := exec.Command("findmnt", "-no", "PROPAGATION", root.Path).Output()
	require.NoError(t, err)
	require.Equal(t, "private\n", string(out))
}

func TestUpperLayersHideLowerOnes(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	var lowers []state.Digest
	for i, files := range [][]tarFile{
		{regular("a", "lowest"), regular("b", "lowest"), regular("c", "lowest")},
		{regular("b", "middle"), regular("c", "middle")},
		{regular("c", "topmost")},
	} {
		image, err := load(t, s, string(rune('x'+i)), bytes.NewReader(tarOf(t, files...)))
		require.NoError(t, err)
		require.Equal(t, []state.Digest{image.Digest}, image.Layers)
		lowers = append(lowers, image.Digest)
	}
	root := mounted(t, s, "pod-1", lowers)
	require.Equal(t, "lowest middle topmost", read(t, root.Path, "a")+" "+read(t, root.Path, "b")+" "+read(t, root.Path, "c"))
	again := mounted(t, s, "pod-2", append(lowers, lowers[1]))
	require.Equal(t, "lowest middle middle", read(t, again.Path, "a")+" "+read(t, again.Path, "b")+" "+read(t, again.Path, "c"))
}
