package quorum

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"github.com/hashicorp/raft-wal/types"
)

// A powerDisk is a file system in memory (types.VFS) of which the power fails at some operation. From then on nothing
// works, until it is on again: then each sector that was written and not synced is there or not, by the seed, and so is
// a file that was made or removed and never synced.
type powerDisk struct {
	mu    sync.Mutex
	rand  *rand.Rand
	left  int // operations until the power fails
	files map[string]*powerFile
	lies  bool // says that it has synced what it has not
}

const sectorSize = 512

var errPower = errors.New("the power has failed")

type powerFile struct {
	now, safe []byte // as it is read; as it is without what wasn't synced
	dirty     map[int]bool
	made      bool // its name is on the disk
	gone      bool // removed, perhaps
}

func newPowerDisk(r *rand.Rand) *powerDisk {
	return &powerDisk{rand: r, files: map[string]*powerFile{}}
}

// use counts an operation. One during which the power fails may have had its effect, or some of it: it returns last.
func (d *powerDisk) use() (last bool, err error) {
	if d.left <= 0 {
		return false, errPower
	}
	d.left--
	return d.left == 0, nil
}

// restart turns the power on for so many operations.
func (d *powerDisk) restart(operations int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = operations
	odds := d.rand.Float64()
	for _, name := range d.names() {
		f := d.files[name]
		if (!f.made || f.gone) && d.rand.Float64() < odds {
			delete(d.files, name)
			continue
		}
		if len(f.now) > len(f.safe) && d.rand.Float64() < odds {
			f.safe = append(f.safe, make([]byte, len(f.now)-len(f.safe))...)
		}
		for s := 0; s*sectorSize < len(f.now); s++ {
			if f.dirty[s] && s*sectorSize < len(f.safe) && d.rand.Float64() >= odds {
				copy(f.safe[s*sectorSize:min((s+1)*sectorSize, len(f.safe))], f.now[s*sectorSize:])
			}
		}
		f.now, f.dirty, f.made, f.gone = slices.Clone(f.safe), map[int]bool{}, true, false
	}
}

// failed says that the power is off.
func (d *powerDisk) failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.left <= 0
}

// names are those of all files, sorted, so that a seed has the same fate each time.
func (d *powerDisk) names() (names []string) {
	for name := range d.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (d *powerDisk) ListDir(string) (names []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left <= 0 {
		return nil, errPower
	}
	for _, name := range d.names() {
		if !d.files[name].gone {
			names = append(names, name)
		}
	}
	return names, nil
}

func (d *powerDisk) Create(_, name string, size uint64) (types.WritableFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, err := d.use()
	if err != nil {
		return nil, err
	}
	if f := d.files[name]; f != nil && !f.gone {
		return nil, os.ErrExist
	}
	f := &powerFile{now: make([]byte, size), dirty: map[int]bool{}}
	d.files[name] = f
	if last {
		return nil, errPower
	}
	return &powerHandle{d, f}, nil
}

// Delete syncs the directory before it returns, as raft-wal's does.
func (d *powerDisk) Delete(_, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, err := d.use()
	if err != nil {
		return err
	}
	f := d.files[name]
	if f == nil || f.gone {
		return os.ErrNotExist
	}
	if last {
		f.gone = true
		return errPower
	}
	delete(d.files, name)
	return nil
}

func (d *powerDisk) open(name string) (*powerHandle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left <= 0 {
		return nil, errPower
	}
	f := d.files[name]
	if f == nil || f.gone {
		return nil, os.ErrNotExist
	}
	return &powerHandle{d, f}, nil
}

func (d *powerDisk) OpenReader(_, name string) (types.ReadableFile, error) { return d.open(name) }
func (d *powerDisk) OpenWriter(_, name string) (types.WritableFile, error) { return d.open(name) }

type powerHandle struct {
	disk *powerDisk
	file *powerFile
}

func (h *powerHandle) ReadAt(b []byte, at int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.disk.left <= 0 {
		return 0, errPower
	}
	if at >= int64(len(h.file.now)) {
		return 0, io.EOF
	}
	n := copy(b, h.file.now[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *powerHandle) WriteAt(b []byte, at int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	last, err := h.disk.use()
	if err != nil {
		return 0, err
	}
	f, end := h.file, int(at)+len(b)
	if end > len(f.now) {
		f.now = append(f.now, make([]byte, end-len(f.now))...)
	}
	copy(f.now[at:], b)
	for s := int(at) / sectorSize; s*sectorSize < end; s++ {
		f.dirty[s] = true
	}
	if last {
		return 0, errPower
	}
	return len(b), nil
}

// Sync syncs the directory too, as raft-wal's does for a new file.
func (h *powerHandle) Sync() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	last, err := h.disk.use()
	if err != nil {
		return err
	}
	if last { // before it was done
		return errPower
	}
	if h.disk.lies {
		return nil
	}
	h.file.safe, h.file.dirty, h.file.made = slices.Clone(h.file.now), map[int]bool{}, true
	return nil
}

func (h *powerHandle) Close() error { return nil }
