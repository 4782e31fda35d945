package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/state"
)

// A Manifest is what one round knows of an upper: for each file, by what a change would be noticed. The zero
// Manifest knows nothing, and a round since then ships everything. It is good in the process that made it only.
type Manifest struct {
	files map[string]record
	order []string     // directories before what they hold
	round state.Digest // of the snapshot that brought a receiver to this state; "" if none did
}

// Files returns how many files of all types it knows, the root among them.
func (m Manifest) Files() int { return len(m.files) }

// Bytes returns the disk space that the files' content takes.
func (m Manifest) Bytes() int64 {
	var total int64
	for _, r := range m.files {
		total += r.blocks * 512 // stat(2): st_blocks counts 512 bytes, whatever the file system's block is
	}
	return total
}

// A record tells a file from what it was and from others. Content, attributes and link target can't change without
// the change time, except by stores through a shared mapping and within one tick of the file system's clock.
type record struct {
	ino, nlink, rdev uint64
	mode, uid, gid   uint32
	size, blocks     int64
	mtime, ctime     unix.Timespec
	unsure           bool // shipped in a state that can't be told from a later one: ship it again
}

// same says if nothing of what the receiver has of old needs to change.
func (r record) same(old record) bool {
	r.unsure = false      // of this round, it says nothing about the one before
	r.blocks = old.blocks // settled by the file system when it writes back
	return r == old
}

func (r *record) kind() uint32 { return r.mode & unix.S_IFMT }
func (r *record) isDir() bool  { return r.kind() == unix.S_IFDIR }

// isWhiteout says if it hides a name of the layers below: overlayfs.rst, "Whiteouts and opaque directories".
func (r *record) isWhiteout() bool { return r.kind() == unix.S_IFCHR && r.rdev == 0 }
func (r *record) linked() bool     { return r.nlink > 1 && !r.isDir() && !r.isWhiteout() }

// tick is longer than the clock by which file systems stamp changes takes from one value to the next: 10 ms
// at CONFIG_HZ=100, before the fine-grained stamps of Linux 6.13.
const tick = 50 * time.Millisecond

func recordOf(st *unix.Stat_t, started time.Time) record {
	r := record{
		ino: st.Ino, nlink: uint64(st.Nlink), rdev: uint64(st.Rdev), mode: st.Mode, uid: st.Uid, gid: st.Gid, //nolint:unconvert // types differ by architecture
		size: st.Size, blocks: st.Blocks, mtime: st.Mtim, ctime: st.Ctim,
	}
	if r.isWhiteout() {
		// Overlayfs makes all whiteouts names of one inode, which changes with every new name.
		return record{mode: r.mode & unix.S_IFMT}
	}
	margin := tick
	if st.Ctim.Nsec == 0 {
		margin = 2 * time.Second // maybe a file system that counts seconds, as ext4 does with inodes of 128 bytes
	}
	r.unsure = time.Unix(st.Ctim.Unix()).After(started.Add(-margin))
	return r
}

// Scan looks at all of an upper, which may change meanwhile, and reads no content.
func Scan(ctx context.Context, upper string) (Manifest, error) { return scan(ctx, upper, 0) }

// scan is Scan with a guess at the number of files.
func scan(ctx context.Context, upper string, files int) (Manifest, error) {
	fd, err := unix.Open(upper, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Manifest{}, fmt.Errorf("scanning %s: %w", upper, err)
	}
	s := scanner{ctx: ctx, started: time.Now(), Manifest: Manifest{files: make(map[string]record, files), order: make([]string, 0, files)}}
	if err := s.directory(os.NewFile(uintptr(fd), upper), "."); err != nil {
		return Manifest{}, fmt.Errorf("scanning %s: %w", upper, err)
	}
	return s.Manifest, nil
}

type scanner struct {
	Manifest
	ctx     context.Context
	started time.Time
}

// directory records dir and all below it, and closes it.
func (s *scanner) directory(dir *os.File, name string) error {
	defer dir.Close()
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if len(name) > maxPath {
		return fmt.Errorf("%w: a path of %d bytes, the longest that can be moved is %d: %s", ErrTooLarge, len(name), maxPath, shorten(name))
	}
	fd := int(dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	s.add(name, recordOf(&st, s.started))
	names, err := dir.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ENOENT) { // deleted meanwhile
		return err
	}
	slices.Sort(names)
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	for _, base := range names {
		if err := s.file(fd, base, prefix+base); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) file(dir int, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return unlessGone(fmt.Errorf("%s: %w", name, err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		s.add(name, recordOf(&st, s.started))
		return nil
	}
	sub, err := openBeneath(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return unlessGone(fmt.Errorf("%s: %w", name, err))
	}
	return s.directory(os.NewFile(uintptr(sub), base), name)
}

func (s *scanner) add(name string, r record) {
	s.files[name] = r
	s.order = append(s.order, name)
}

// unlessGone drops an error that says that a running pod has deleted or replaced the file meanwhile.
func unlessGone(err error) error {
	if isGone(err) {
		return nil
	}
	return err
}

func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ESTALE)
}
