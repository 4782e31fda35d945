//go:build root

package volumes

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/state"
)

// systemTar packs dir as a user would who makes an image of it.
func systemTar(t testing.TB, dir string) []byte {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd := exec.Command("tar", "--format=posix", "--xattrs", "--xattrs-include=*", "--sparse", "--numeric-owner", "-C", dir, "-c", ".")
	cmd.Stdout, cmd.Stderr = &out, &complaints
	require.NoError(t, cmd.Run(), complaints.String())
	return out.Bytes()
}

func TestLoadKeepsEverythingThatTarKeeps(t *testing.T) {
	needRoot(t)
	for seed := range uint64(10) {
		m := newMutator(t, seed)
		m.asPod = true
		require.NoError(t, os.Mkdir(m.root, 0o755))
		for range 200 {
			m.change(t)
		}
		s := newStore(t)
		image, err := load(t, s, "x", bytes.NewReader(systemTar(t, m.root)))
		require.NoError(t, err)
		wanted, found := describe(t, m.root), describe(t, s.layerPath(image.Digest))
		for name, line := range wanted {
			// What tar leaves out: sockets, and that other files than regular ones have several names.
			switch {
			case strings.HasPrefix(line, "mode 14"):
				delete(wanted, name)
			case !strings.Contains(line, " content "):
				wanted[name], _, _ = strings.Cut(line, " linked")
				found[name], _, _ = strings.Cut(found[name], " linked")
			}
		}
		require.Equal(t, wanted, found)
	}
}

func TestLoadKeepsAWholeSystemDirectory(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	image, err := load(t, s, "x", bytes.NewReader(systemTar(t, "/etc")))
	require.NoError(t, err)
	requireSameTree(t, "/etc", s.layerPath(image.Digest))
}

// TestAPodsFilesMoveTwice mounts an overlay, lets a process write to it, moves its upper in two rounds, and the same
// again from there: what is seen through the overlay must be the same at each place.
func TestAPodsFilesMoveTwice(t *testing.T) {
	needRoot(t)
	image := tarOf(t, directory("./"), directory("etc"), regular("etc/passwd", "root"), regular("etc/group", "wheel"),
		directory("var/cache"), regular("var/cache/a", "a"), regular("var/cache/b", "b"),
		regular("bin/tool", "tool"), hardLink("bin/alias", "bin/tool"), symlink("sbin", "bin"), regular("data", strings.Repeat("x", 1<<20)))
	script := `set -e
		echo more >> etc/passwd; rm etc/group; chmod 4711 bin/tool; chown 7:8 data
		rm -r var/cache; mkdir var/cache; echo new > var/cache/c; mkdir -p srv/a/b; mkfifo srv/fifo
		mv etc/passwd srv/moved; ln srv/moved srv/a/linked; ln -s nowhere srv/dangling; rm sbin; mkdir sbin
		truncate -s 20M srv/sparse; printf x | dd of=srv/sparse bs=1 seek=9000000 conv=notrunc status=none
		touch -d '2001-02-03 04:05:06.123456789' srv/a srv/moved`
	second := `set -e
		rm -r srv/a; echo a > srv/a; echo changed > var/cache/c; mv srv/moved srv/again; rm bin/alias; mkdir etc/group; rmdir sbin; echo > sbin`
	places := make([]*Store, 3)
	for i := range places {
		places[i] = newStore(t)
		_, err := load(t, places[i], "image", bytes.NewReader(image))
		require.NoError(t, err)
	}
	lowers := []state.Digest{digestOf(image)}
	here := mounted(t, places[0], "pod-1", lowers)
	for i, to := range places[1:] {
		run(t, here.Path, []string{script, `set -e; echo third > srv/x; rm var/cache/c`}[i])
		there, err := to.Prepare(t.Context(), "pod-1", lowers)
		require.NoError(t, err)
		known, _ := ship(t, here.Upper, there.Upper, Manifest{}, nil)
		run(t, here.Path, []string{second, `rm -r srv; mkdir srv; mv data srv; ln srv/data data2`}[i])
		ship(t, here.Upper, there.Upper, known, nil)
		there = mounted(t, to, "pod-1", lowers)
		require.NotEqual(t, here.Path, there.Path)
		requireSameTree(t, here.Path, there.Path)
		require.ErrorIs(t, Apply(t.Context(), bytes.NewReader(nil), there.Upper), ErrInUse, "under a live overlay")
		here = there
	}
}

func TestAWhiteoutIsShippedOnce(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	image, err := load(t, s, "x", bytes.NewReader(tarOf(t, regular("a", ""), regular("b", ""), regular("c", ""))))
	require.NoError(t, err)
	root, to := mounted(t, s, "pod", []state.Digest{image.Digest}), t.TempDir()
	run(t, root.Path, "rm a b")
	settle(t)
	known, _ := ship(t, root.Upper, to, Manifest{}, nil)
	run(t, root.Path, "rm c") // one more name of the inode that all whiteouts share
	settle(t)
	_, stats := ship(t, root.Upper, to, known, nil)
	require.Equal(t, 2, stats.Shipped, "c, and the root that it is in")
	requireSameTree(t, root.Upper, to)
}

func run(t testing.TB, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestRandomChangesThroughAnOverlayMove(t *testing.T) {
	needRoot(t)
	for seed := range uint64(4) {
		lower := newMutator(t, seed)
		lower.asPod = true
		require.NoError(t, os.Mkdir(lower.root, 0o755))
		for range 150 {
			lower.change(t)
		}
		image := systemTar(t, lower.root)
		from, to := newStore(t), newStore(t)
		lowers := make([]state.Digest, 1)
		for _, s := range []*Store{from, to} {
			loaded, err := load(t, s, "image", bytes.NewReader(image))
			require.NoError(t, err)
			lowers[0] = loaded.Digest
		}
		here := mounted(t, from, "pod", lowers)
		there, err := to.Prepare(t.Context(), "pod", lowers)
		require.NoError(t, err)
		pod := newMutator(t, seed+100)
		pod.root, pod.asPod = here.Path, true
		var known Manifest
		for range 4 {
			for range 40 {
				pod.change(t)
			}
			known, _ = ship(t, here.Upper, there.Upper, known, nil)
			requireSameTree(t, here.Upper, there.Upper)
		}
		mounted(t, to, "pod", lowers)
		requireSameTree(t, here.Path, there.Path)
	}
}

// smallDisk mounts a file system of a few MiB.
func smallDisk(t testing.TB, options string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func TestAFullDiskLeavesNothingBehind(t *testing.T) {
	needRoot(t)
	var many []tarFile
	for i := range 200 {
		many = append(many, regular(strings.Repeat("f", i+1), ""))
	}
	big := tarOf(t, regular("big", string(noise(4<<20))))
	for name, c := range map[string]struct {
		options string
		image   []byte
	}{"space": {"size=2m", big}, "inodes": {"nr_inodes=100", tarOf(t, many...)}} {
		t.Run(name, func(t *testing.T) {
			s, err := OpenStore(smallDisk(t, c.options))
			require.NoError(t, err)
			_, err = load(t, s, "big", bytes.NewReader(c.image))
			require.ErrorIs(t, err, ErrFull)
			require.ErrorContains(t, err, s.dir)
			requireEmpty(t, s)

			elsewhere := newStore(t)
			image, err := load(t, elsewhere, "big", bytes.NewReader(c.image))
			require.NoError(t, err)
			var wire bytes.Buffer
			require.NoError(t, elsewhere.Export(t.Context(), image.Digest, &wire))
			require.ErrorIs(t, s.Import(t.Context(), image.Digest, &wire), ErrFull)
			requireEmpty(t, s)

			_, err = load(t, s, "small", bytes.NewReader(sampleTar(t)))
			require.NoError(t, err, "there is room for this one")
		})
	}
}

func TestApplyToAFullDiskIsSaidAndMended(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), filepath.Join(smallDisk(t, "size=2m"), "upper")
	require.NoError(t, os.Mkdir(to, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(from, "big"), noise(4<<20), 0o644))
	var wire bytes.Buffer
	_, _, err := Pack(t.Context(), &wire, from, Manifest{}, nil)
	require.NoError(t, err)
	require.ErrorIs(t, Apply(t.Context(), &wire, to), ErrFull)
	require.NoError(t, os.WriteFile(filepath.Join(from, "big"), noise(1<<20), 0o644))
	ship(t, from, to, Manifest{}, nil)
	requireSameTree(t, from, to)
}

func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// TestAKilledLoadLeavesNothing kills a process in the middle of a Load.
func TestAKilledLoadLeavesNothing(t *testing.T) {
	const where = "DROVER_TEST_STORE"
	if dir := os.Getenv(where); dir != "" {
		s, err := OpenStore(dir)
		require.NoError(t, err)
		_, _ = load(t, s, "x", os.Stdin)
		return
	}
	dir := filepath.Join(t.TempDir(), "store")
	image := tarOf(t, directory("a/b/c"), regular("a/b/c/big", string(noise(2<<20))))
	for _, sent := range []int{300 << 10, 1 << 20, len(image) - 100} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAKilledLoadLeavesNothing$")
		cmd.Env = append(os.Environ(), where+"="+dir)
		stdin, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = stdin.Write(image[:sent]) // a pipe holds 64 KiB: the rest has been read
		require.NoError(t, err)
		left, err := os.ReadDir(filepath.Join(dir, "tmp"))
		require.NoError(t, err)
		require.Len(t, left, 1)
		require.NoError(t, cmd.Process.Kill())
		var killed *exec.ExitError
		require.True(t, errors.As(cmd.Wait(), &killed))
		s, err := OpenStore(dir)
		require.NoError(t, err)
		requireEmpty(t, s)
	}
}

func TestUpperMadeWithAnotherClockMoves(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), t.TempDir()
	name := filepath.Join(from, "f")
	require.NoError(t, os.WriteFile(name, nil, 0o644))
	for _, when := range []time.Time{time.Unix(-5, 999_999_999), time.Unix(0, 0), time.Unix(1<<33, 1)} {
		require.NoError(t, setTime(name, unix.Timespec{Sec: when.Unix(), Nsec: int64(when.Nanosecond())}))
		ship(t, from, to, Manifest{}, nil)
		requireSameTree(t, from, to)
	}
}
