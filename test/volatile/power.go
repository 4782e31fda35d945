//go:build root

package volatile

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/lab"
)

// FileSystem is how the disk is used.
type FileSystem struct {
	Name    string
	Options string // of its mount
}

// FileSystems are those that tests run on: ext4 as hosts have it, and as it is when it promises the least that POSIX allows it to,
// neither that data comes before the names of what holds it, nor that a rename waits for what is renamed.
func FileSystems() []FileSystem {
	return []FileSystem{
		{"ext4", ""},
		{"ext4, which promises little", "data=writeback,noauto_da_alloc"},
	}
}

// diskSize is that of the disks, in bytes.
const diskSize = 48 << 20

// Losses takes the power from what a test does.
type Losses struct {
	// Work writes below dir, and marks what it has promised to keep as soon as it has.
	Work func(t *testing.T, dir string, promise func(what string))
	// Check looks at what is found in dir after a loss of power, with what was promised by then.
	Check func(t *testing.T, dir string, promised []string)
	// Random is how many random outcomes are looked at, besides all of those in which nothing is kept that was not flushed.
	Random int
	// Seed makes them.
	Seed uint64
}

// Run does the work once on each file system, and checks it after a loss of power at each moment that makes a difference. What
// the writes of another order, or of an earlier write-back, would have left is up to chance.
func (l Losses) Run(t *testing.T) {
	for _, kind := range FileSystems() {
		t.Run(kind.Name, func(t *testing.T) {
			s := newShelf(t)
			d := newDisk(diskSize, format(t))
			dir := t.TempDir()
			unmount := s.mount(t, d, dir, kind.Options)
			l.Work(t, dir, d.Mark)
			// What is in the caches of the kernel now is lost with it; the disk need not hear of the unmounting.
			recorded := newDisk(d.size, d.first)
			d.mu.Lock()
			recorded.events = slices.Clone(d.events)
			d.mu.Unlock()
			unmount()
			l.check(t, s, recorded, kind)
		})
	}
}

func (l Losses) check(t *testing.T, s *shelf, d *Disk, kind FileSystem) {
	t.Helper()
	chance := rand.New(rand.NewPCG(l.Seed, 1))
	looked := 0
	look := func(moment int, kept Kept) {
		after, promised := d.Fail(moment, kept, chance)
		t.Run(fmt.Sprintf("moment %d, kept %d, look %d", moment, kept, looked), func(t *testing.T) {
			dir := t.TempDir()
			unmount := s.mount(t, after, dir, kind.Options)
			defer unmount()
			l.Check(t, dir, promised)
		})
		looked++
	}
	for _, moment := range d.changes(None) {
		look(moment, None)
	}
	moments := d.changes(Any)
	for i := range l.Random {
		kept := Any
		if i%4 == 0 {
			kept = All
		}
		look(moments[chance.IntN(len(moments))], kept)
	}
	t.Logf("%d events, %d outcomes looked at, seed %d", d.Moments()-1, looked, l.Seed)
}

// format makes an empty file system.
func format(t *testing.T) pages {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", path, fmt.Sprint(diskSize>>10)).CombinedOutput()
	require.NoError(t, err, "mkfs.ext4: install e2fsprogs: %s", out)
	image, err := os.ReadFile(path)
	require.NoError(t, err)
	content, zero := pages{}, make([]byte, page)
	for at := 0; at < len(image); at += page {
		if !slices.Equal(image[at:at+page], zero) {
			content[int64(at/page)] = image[at : at+page]
		}
	}
	return content
}

// mount mounts a disk at dir, until unmount is called.
func (s *shelf) mount(t *testing.T, d *Disk, dir, options string) (unmount func()) {
	t.Helper()
	file := s.put(t, d)
	defer file.Close()
	device, err := lab.AttachLoop(file)
	require.NoError(t, err)
	defer device.Close() // it lives as long as the mount
	require.NoError(t, unix.Mount(device.Name(), dir, "ext4", unix.MS_NOATIME, options))
	mounted := true
	t.Cleanup(func() {
		if mounted { // the test ended early
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return func() {
		require.NoError(t, unix.Unmount(dir, 0), "something that the test has left is open")
		mounted = false
	}
}
