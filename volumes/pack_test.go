package volumes

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// ship packs one round and applies it; the stream has more behind it, which must stay unread.
func ship(t testing.TB, from, to string, since Manifest, force func(string) bool) (Manifest, Stats) {
	t.Helper()
	var wire bytes.Buffer
	now, stats, err := Pack(t.Context(), &wire, from, since, force)
	require.NoError(t, err)
	require.EqualValues(t, stats.Bytes, wire.Len())
	wire.WriteString("behind")
	require.NoError(t, Apply(t.Context(), &wire, to))
	require.Equal(t, "behind", wire.String())
	return now, stats
}

func TestRoundsOfRandomChangesMakeTreesEqual(t *testing.T) {
	for seed := range uint64(12) {
		m := newMutator(t, seed)
		require.NoError(t, os.Mkdir(m.root, 0o755))
		to := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(to, "left over"), nil, 0o600))
		var known Manifest
		for range 6 {
			for range m.IntN(60) {
				m.change(t)
			}
			known, _ = ship(t, m.root, to, known, nil)
			requireSameTree(t, m.root, to)
		}
	}
}

func TestPackWhileThePodWrites(t *testing.T) {
	for seed := range uint64(3) {
		m := newMutator(t, seed)
		require.NoError(t, os.Mkdir(m.root, 0o755))
		for range 300 {
			m.change(t)
		}
		to := t.TempDir()
		var frozen atomic.Bool
		var group errgroup.Group
		group.Go(func() error {
			for !frozen.Load() {
				m.change(t)
			}
			return nil
		})
		var known Manifest
		for range 20 {
			known, _ = ship(t, m.root, to, known, nil)
		}
		frozen.Store(true)
		require.NoError(t, group.Wait())
		ship(t, m.root, to, known, nil)
		requireSameTree(t, m.root, to)
	}
}

// settle waits until the clock has left the tick in which a tree was changed, by the clock that stamps files.
func settle(t testing.TB) {
	t.Helper()
	var start, now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_REALTIME, &start))
	for now = start; now.Nano()-start.Nano() <= int64(2*tick); {
		pause := unix.NsecToTimespec(int64(tick))
		_ = unix.Nanosleep(&pause, nil)
		require.NoError(t, unix.ClockGettime(unix.CLOCK_REALTIME, &now))
	}
}

func TestOnlyChangesAreShipped(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, os.WriteFile(filepath.Join(from, name), bytes.Repeat([]byte(name), 1<<20), 0o644))
	}
	require.NoError(t, os.Link(filepath.Join(from, "c"), filepath.Join(from, "c2")))
	settle(t)
	known, stats := ship(t, from, to, Manifest{}, nil)
	require.Equal(t, 5, stats.Shipped)
	known, stats = ship(t, from, to, known, nil)
	require.Equal(t, Stats{Scanned: 5, Bytes: stats.Bytes}, stats)
	require.Less(t, stats.Bytes, int64(200))

	require.NoError(t, os.Chmod(filepath.Join(from, "a"), 0o600))
	require.NoError(t, os.Remove(filepath.Join(from, "b")))
	settle(t)
	known, stats = ship(t, from, to, known, nil)
	require.Equal(t, 2, stats.Shipped, "the file and the root, which has lost a name")
	require.Equal(t, 1, stats.Deleted)

	require.NoError(t, os.Link(filepath.Join(from, "c"), filepath.Join(from, "c3")))
	known, _ = ship(t, from, to, known, nil)
	require.NoError(t, os.Remove(filepath.Join(from, "c")))
	ship(t, from, to, known, nil)
	requireSameTree(t, from, to)
}

func TestMappedFilesAreForced(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	file := filepath.Join(from, "mapped")
	require.NoError(t, os.WriteFile(file, make([]byte, 8192), 0o644))
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	memory[0] = 1
	settle(t)
	force := func(p string) bool { return p == "mapped" }
	known, _ := ship(t, from, to, Manifest{}, force)
	memory[1] = 2 // into a page that is dirty already: no fault, no new time
	require.NoError(t, unix.Munmap(memory))
	known, stats := ship(t, from, to, known, nil)
	require.Equal(t, 1, stats.Shipped, "what was mapped in the round before is shipped once more")
	requireSameTree(t, from, to)
	settle(t) // the page may have been written back meanwhile, so that the second store did change the time
	known, _ = ship(t, from, to, known, nil)
	_, stats = ship(t, from, to, known, nil)
	require.Zero(t, stats.Shipped)
}

func TestAStoreThroughAMappingIsSeenAfterSync(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	file := filepath.Join(from, "mapped")
	require.NoError(t, os.WriteFile(file, make([]byte, 8192), 0o644))
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(memory)) }()
	memory[0] = 1
	require.NoError(t, SyncFS(from))
	settle(t)
	known, _ := ship(t, from, to, Manifest{}, nil)
	memory[0] = 2
	var force func(string) bool
	if fs := (unix.Statfs_t{}); unix.Statfs(from, &fs) == nil && fs.Type == unix.TMPFS_MAGIC {
		force = func(p string) bool { return p == "mapped" } // writes nothing back, so sees no store
	}
	_, stats := ship(t, from, to, known, force)
	require.Equal(t, 1, stats.Shipped)
	requireSameTree(t, from, to)
}

// TestWhatChangesDuringARound changes the tree between the scan and the reading: force is asked just then.
func TestWhatChangesDuringARound(t *testing.T) {
	for name, change := range map[string]func(from string) (back func() error, err error){
		"directory away and back": func(from string) (func() error, error) { // leaves the times of what it holds
			d, e := filepath.Join(from, "d"), filepath.Join(from, "e")
			return func() error { return os.Rename(e, d) }, os.Rename(d, e)
		},
		"file becomes a FIFO": func(from string) (func() error, error) { // opening it would block
			f := filepath.Join(from, "d/f")
			return nil, errors.Join(os.Remove(f), unix.Mkfifo(f, 0o600))
		},
		"directory becomes a link": func(from string) (func() error, error) {
			d := filepath.Join(from, "d")
			return nil, errors.Join(os.Rename(d, d+"2"), os.Symlink("/etc", d))
		},
		"file grows": func(from string) (func() error, error) {
			return nil, os.Truncate(filepath.Join(from, "d/f"), 1<<20)
		},
		"file shrinks": func(from string) (func() error, error) { return nil, os.Truncate(filepath.Join(from, "d/f"), 1) },
		"all goes": func(from string) (func() error, error) {
			return nil, os.RemoveAll(filepath.Join(from, "d"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := t.TempDir(), t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(from, "d"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(from, "d/f"), []byte("content"), 0o644))
			require.NoError(t, os.Link(filepath.Join(from, "d/f"), filepath.Join(from, "g")))
			settle(t)
			var back func() error
			var once sync.Once
			known, _ := ship(t, from, to, Manifest{}, func(string) bool {
				once.Do(func() {
					var err error
					back, err = change(from)
					require.NoError(t, err)
				})
				return false
			})
			if back != nil {
				require.NoError(t, back())
			}
			ship(t, from, to, known, nil)
			requireSameTree(t, from, to)
		})
	}
}

func TestWhatHasJustChangedIsShippedTwice(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	settle(t)
	require.NoError(t, os.WriteFile(filepath.Join(from, "a"), nil, 0o644))
	known, _ := ship(t, from, to, Manifest{}, nil)
	settle(t)
	known, stats := ship(t, from, to, known, nil)
	require.Equal(t, 2, stats.Shipped, "it may have changed again within one tick of the clock")
	_, stats = ship(t, from, to, known, nil)
	require.Zero(t, stats.Shipped)
}

func TestHolesStayHoles(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(from, "sparse"))
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("in the middle"), 1<<39)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1<<40))
	require.NoError(t, f.Close())
	_, stats := ship(t, from, to, Manifest{}, nil)
	require.Less(t, stats.Bytes, int64(1<<20))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(to, "sparse"), &st))
	require.EqualValues(t, 1<<40, st.Size)
	require.Less(t, st.Blocks*512, int64(1<<20))
	g, err := os.Open(filepath.Join(to, "sparse"))
	require.NoError(t, err)
	defer g.Close()
	got := make([]byte, 13)
	_, err = g.ReadAt(got, 1<<39)
	require.NoError(t, err)
	require.Equal(t, "in the middle", string(got))
}

func TestManifestCountsFilesAndSpace(t *testing.T) {
	from := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(from, "a"), bytes.Repeat([]byte("x"), 1<<20), 0o644))
	require.NoError(t, SyncFS(from))
	m, err := Scan(t.Context(), from)
	require.NoError(t, err)
	require.Equal(t, 2, m.Files())
	require.GreaterOrEqual(t, m.Bytes(), int64(1<<20))
	_, err = Scan(t.Context(), filepath.Join(from, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
