package volumes

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Stats says what a round did.
type Stats struct {
	Scanned int   // files of all types in the upper
	Shipped int   // of them, those that were written to the snapshot
	Deleted int   // paths that the snapshot names as gone; what was below them isn't counted
	Bytes   int64 // length of the snapshot
}

// Pack writes what has changed in an upper since a round before (the zero Manifest: all of it), and returns what the
// receiver then knows, to be given to the next round. The upper's pod may run: what it changes while Pack reads is
// shipped by the next round, and a round with nothing running makes the copy equal.
//
// force, if not nil, names files that are shipped whether they seem changed or not: those that a process has
// mapped shared and writable, since stores into them may leave no trace. Precede a first round by SyncFS.
//
// After an error the receiver's state is unknown: start again with the zero Manifest.
func Pack(ctx context.Context, w io.Writer, upper string, since Manifest, force func(path string) bool) (Manifest, Stats, error) {
	now, stats, err := pack(ctx, w, upper, since, force)
	if err != nil {
		return Manifest{}, stats, fmt.Errorf("packing %s: %w", upper, err)
	}
	return now, stats, nil
}

func pack(ctx context.Context, w io.Writer, upper string, since Manifest, force func(string) bool) (Manifest, Stats, error) {
	now, err := scan(ctx, upper, len(since.files))
	if err != nil {
		return Manifest{}, Stats{}, err
	}
	t, err := openTree(upper)
	if err != nil {
		return Manifest{}, Stats{}, err
	}
	defer t.close()
	buffered := bufio.NewWriterSize(w, 64<<10)
	frames, err := newFrameWriter(buffered)
	if err != nil {
		return Manifest{}, Stats{}, err
	}
	p := &packer{tree: t, ctx: ctx, out: frames, now: now, names: make(map[uint64]string)}
	p.stats.Scanned = len(now.files)
	err = p.run(since, force)
	if err == nil {
		p.now.round, err = frames.end()
	}
	err = errors.Join(err, buffered.Flush())
	p.stats.Bytes = frames.written
	return p.now, p.stats, err
}

type packer struct {
	*tree
	ctx   context.Context
	out   *frameWriter
	now   Manifest
	stats Stats
	names map[uint64]string // first name shipped of each file that has several
	chunk []byte
}

func (p *packer) run(since Manifest, force func(string) bool) error {
	base, err := since.base()
	if err != nil {
		return err
	}
	if err := p.out.frame(frameBase, base); err != nil {
		return err
	}
	for _, name := range p.now.gone(since) {
		p.stats.Deleted++
		if err := p.out.frame(frameDeleted, []byte(name)); err != nil {
			return err
		}
	}
	for _, name := range p.now.changed(since, force) {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		r := p.now.files[name]
		shipped, err := p.ship(name, r)
		if err != nil && !isGone(err) {
			return fmt.Errorf("%s: %w", name, err)
		}
		if shipped {
			p.stats.Shipped++
		} else {
			r.unsure = true // the receiver has what it had, or nothing
			p.now.files[name] = r
		}
	}
	return nil
}

// base is the payload of the base frame of a snapshot since m.
func (m Manifest) base() ([]byte, error) {
	switch {
	case len(m.files) == 0:
		return nil, nil
	case m.round == "":
		return make([]byte, 32), nil
	}
	return hex.DecodeString(hexOf(m.round))
}

// gone returns the paths that since has and m hasn't, sorted, without those below another one of them.
func (m Manifest) gone(since Manifest) []string {
	var gone []string
	for name := range since.files {
		if _, there := m.files[name]; there {
			continue
		}
		parent := path.Dir(name)
		_, was := since.files[parent]
		if _, is := m.files[parent]; was && !is {
			continue
		}
		gone = append(gone, name)
	}
	slices.Sort(gone)
	return gone
}

// changed returns, in order, what has to be shipped to one who has since. The names of one file go together: the
// receiver makes it anew, and each of them must then name the new one.
func (m Manifest) changed(since Manifest, force func(string) bool) []string {
	differs := make(map[string]bool)
	linked := make(map[uint64]bool)
	for _, name := range m.order {
		r := m.files[name]
		old, was := since.files[name]
		forced := force != nil && r.kind() == unix.S_IFREG && force(name)
		if forced {
			// It may be unmapped before the next round, with stores that this one didn't see.
			r.unsure = true
			m.files[name] = r
		}
		if !was || forced || !r.same(old) {
			differs[name] = true
			if r.linked() {
				linked[r.ino] = true
			}
		}
	}
	var changed []string
	for _, name := range m.order {
		r := m.files[name]
		if differs[name] || r.linked() && linked[r.ino] {
			changed = append(changed, name)
		}
	}
	return changed
}

// ship writes one file, and says if it was still there to be written. A directory is written in any case, for
// what it holds.
func (p *packer) ship(name string, r record) (bool, error) {
	if first, ok := p.names[r.ino]; ok && r.linked() {
		return true, p.out.frame(frameEntry, (&entry{path: name, hard: true, link: first}).encode(nil))
	}
	e := &entry{path: name, mode: r.mode, uid: r.uid, gid: r.gid, rdev: r.rdev, mtime: r.mtime}
	err := p.complete(e, r)
	if err != nil && (!isGone(err) || !r.isDir()) {
		return false, err
	}
	if r.kind() == unix.S_IFREG {
		return p.shipContent(e, r)
	}
	if err := p.out.frame(frameEntry, e.encode(nil)); err != nil {
		return false, err
	}
	if r.linked() {
		p.names[r.ino] = name
	}
	return err == nil, nil
}

// complete adds to e what isn't in its record.
func (p *packer) complete(e *entry, r record) error {
	dir, base, err := p.parent(e.path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	now := recordOf(&st, time.Time{})
	if now.ino != r.ino || now.kind() != r.kind() || now.rdev != r.rdev {
		return unix.ENOENT // another file has its name
	}
	e.mode, e.uid, e.gid, e.mtime = st.Mode, st.Uid, st.Gid, st.Mtim
	if r.kind() == unix.S_IFLNK {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, base, buf)
		if err != nil {
			if errors.Is(err, unix.EINVAL) {
				err = unix.ENOENT
			}
			return err
		}
		e.link = string(buf[:n])
	}
	e.xattrs, err = readXattrs(procPath(dir, base))
	return err
}

// shipContent writes a regular file as far as its size was when it was opened.
func (p *packer) shipContent(e *entry, r record) (bool, error) {
	f, err := p.openFile(e.path, r)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	e.size = st.Size
	if err := p.out.frame(frameEntry, e.encode(nil)); err != nil {
		return false, err
	}
	if r.linked() {
		p.names[r.ino] = e.path
	}
	for at := int64(0); at < e.size; {
		data, hole, err := nextData(f, at)
		if err != nil || data >= e.size {
			return err == nil, err
		}
		if at, err = p.shipRange(f, data, min(hole, e.size)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// shipRange writes chunks of f, and returns where it has come to: to, or e's end if it was cut meanwhile.
func (p *packer) shipRange(f *os.File, from, to int64) (int64, error) {
	if p.chunk == nil {
		p.chunk = make([]byte, chunkSize)
	}
	var offset [8]byte
	for from < to {
		if p.ctx.Err() != nil {
			return from, context.Cause(p.ctx)
		}
		n, err := f.ReadAt(p.chunk[:min(chunkSize, to-from)], from)
		if n == 0 && errors.Is(err, io.EOF) {
			return to, nil
		}
		if n == 0 && err != nil {
			return from, err
		}
		binary.LittleEndian.PutUint64(offset[:], uint64(from))
		if err := p.out.frame(frameChunk, offset[:], p.chunk[:n]); err != nil {
			return from, err
		}
		from += int64(n)
	}
	return to, nil
}

// nextData finds the next extent of f that isn't a hole. If there is none, data is beyond any size.
func nextData(f *os.File, at int64) (data, hole int64, err error) {
	const beyond = 1<<63 - 1
	fd := int(f.Fd())
	data, err = unix.Seek(fd, at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return beyond, beyond, nil
	case errors.Is(err, unix.EINVAL):
		return at, beyond, nil // a file system that knows no holes
	case err != nil:
		return 0, 0, err
	}
	hole, err = unix.Seek(fd, data, unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) { // cut meanwhile
		return beyond, beyond, nil
	}
	return data, hole, err
}

// openFile opens the file of a record, and no other that a running pod may have put in its place meanwhile: opening
// a device node or a FIFO can do things.
func (p *packer) openFile(name string, r record) (*os.File, error) {
	handle, err := p.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer unix.Close(handle)
	var st unix.Stat_t
	if err := unix.Fstat(handle, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Ino != r.ino {
		return nil, unix.ENOENT
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(handle), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
