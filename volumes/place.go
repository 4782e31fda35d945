package volumes

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A placer writes entries into a tree, in any order in which a file's directory may be missing (it is made) but
// the target of a hard link may not. Directories get their times last, in finish, since each entry changes them.
type placer struct {
	*tree
	fromUpper bool // an upper may carry overlayfs's marks of opaque directories
	dirs      map[string]*dirState
	dirBytes  int64 // of the names in dirs
}

// maxDirBytes bounds the names of directories that are remembered until the end: some two million of them. One entry
// can imply two thousand.
const maxDirBytes = 256 << 20

func (p *placer) remember(d *dirState) error {
	if p.dirBytes += int64(len(d.path)); p.dirBytes > maxDirBytes {
		return fmt.Errorf("entry %q: %w: too many directories", shorten(d.path), ErrTooLarge)
	}
	p.dirs[d.path] = d
	return nil
}

// dirState is what finish gives to a directory: all of it, or only its time.
type dirState struct {
	entry
	timeOnly bool
	existed  bool // it had been there before, maybe with attributes that must go
	implied  bool // nothing describes it but the paths of what it holds
}

func newPlacer(t *tree, fromUpper bool) *placer {
	return &placer{tree: t, fromUpper: fromUpper, dirs: make(map[string]*dirState)}
}

// place makes e, in the place of whatever has its name (a directory stays one, with what it holds). write
// fills a regular file; it is called once or, for other types, never.
func (p *placer) place(e *entry, write func(*os.File) error) error {
	for _, x := range e.xattrs {
		if err := checkXattr(e, x, p.fromUpper); err != nil {
			return err
		}
	}
	if e.isDir() {
		return p.placeDir(e)
	}
	if e.path == "." {
		return &RefusedError{Entry: e.path, Reason: "is the root, and that must be a directory"}
	}
	parent, base, err := p.parentOf(e.path)
	if err != nil {
		return err
	}
	wasDir, err := removeAt(parent, base)
	if err != nil {
		return fmt.Errorf("replacing %s: %w", e.path, err)
	}
	if wasDir {
		delete(p.dirs, e.path)
		p.forget()
		if parent, base, err = p.parent(e.path); err != nil {
			return err
		}
	}
	if e.hard {
		return p.link(e, parent, base)
	}
	if err := create(e, parent, base, write); err != nil {
		return fmt.Errorf("making %s: %w", e.path, err)
	}
	if err := setMetadata(procPath(parent, base), e, false); err != nil {
		return fmt.Errorf("making %s: %w", e.path, err)
	}
	return nil
}

func create(e *entry, parent int, base string, write func(*os.File) error) error {
	switch e.kind() {
	case unix.S_IFREG:
		fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), e.path)
		return errors.Join(write(f), f.Close())
	case unix.S_IFLNK:
		return unix.Symlinkat(e.link, parent, base)
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
		return unix.Mknodat(parent, base, e.kind()|0o600, int(e.rdev))
	}
	return &RefusedError{Entry: e.path, Reason: fmt.Sprintf("has an unknown type (mode %o)", e.mode)}
}

func (p *placer) link(e *entry, parent int, base string) error {
	// parent may be the descriptor that the tree keeps, and that the next look-up closes.
	held, err := unix.FcntlInt(uintptr(parent), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(held)
	from, fromBase, err := p.parent(e.link)
	if err == nil {
		err = unix.Linkat(from, fromBase, held, base, 0)
	}
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return &RefusedError{Entry: e.path, Reason: fmt.Sprintf("is a hard link to %q, which %s", e.link, refused.Reason), cause: err}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return &RefusedError{Entry: e.path, Reason: fmt.Sprintf("is a hard link to %q, which is no file of this layer", e.link), cause: err}
	}
	if err != nil {
		return fmt.Errorf("linking %s to %s: %w", e.path, e.link, err)
	}
	return nil
}

func (p *placer) placeDir(e *entry) error {
	if e.path == "." {
		return p.remember(&dirState{entry: *e, existed: true})
	}
	parent, base, err := p.parentOf(e.path)
	if err != nil {
		return err
	}
	existed, err := makeDir(parent, base)
	if err != nil {
		return fmt.Errorf("making directory %s: %w", e.path, err)
	}
	return p.remember(&dirState{entry: *e, existed: existed})
}

// makeDir makes a directory, in the place of anything else that has its name, and says if there was one already.
func makeDir(parent int, base string) (existed bool, err error) {
	err = unix.Mkdirat(parent, base, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return true, nil
	}
	if err := unix.Unlinkat(parent, base, 0); err != nil {
		return false, err
	}
	return false, unix.Mkdirat(parent, base, 0o700)
}

// impliedDir is a directory of which nothing is known.
func impliedDir(path string) *entry {
	return &entry{path: path, mode: unix.S_IFDIR | 0o755, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
}

// implied lists the directories that nothing describes, those first that hold others.
func (p *placer) implied() []string {
	var names []string
	for name, d := range p.dirs {
		if d.implied {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// parentOf is parent for a path that is about to change: it makes missing directories and remembers the time of
// one that was there.
func (p *placer) parentOf(name string) (fd int, base string, err error) {
	dir := path.Dir(name)
	fd, err = p.directory(dir)
	if errors.Is(err, unix.ENOENT) {
		// A layer may leave out the directories of its files. All get the same time, so that every node that
		// unpacks it has the same tree.
		if err := p.placeDir(impliedDir(dir)); err != nil {
			return -1, "", err
		}
		p.dirs[dir].implied = true
		fd, err = p.directory(dir)
	}
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return -1, "", &RefusedError{Entry: name, Reason: refused.Reason, cause: refused.cause}
	}
	if err != nil {
		return -1, "", fmt.Errorf("opening directory %s: %w", dir, err)
	}
	if p.dirs[dir] == nil {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return -1, "", err
		}
		if err := p.remember(&dirState{entry: entry{path: dir, mtime: st.Mtim}, timeOnly: true}); err != nil {
			return -1, "", err
		}
	}
	return fd, path.Base(name), nil
}

// delete removes a path and all below it, if it is there.
func (p *placer) delete(name string) error {
	if name == "." {
		return &RefusedError{Entry: name, Reason: "is the root, and that can't be deleted"}
	}
	if _, err := p.directory(path.Dir(name)); errors.Is(err, unix.ENOENT) {
		return nil
	}
	if _, _, err := p.parentOf(name); err != nil {
		return err
	}
	return p.remove(name)
}

// finish gives the directories their owners, modes, attributes and times, the deepest first, so that one that
// can't be entered doesn't stand in the way of those below it.
func (p *placer) finish() error {
	names := make([]string, 0, len(p.dirs))
	for name := range p.dirs {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) })
	if i := slices.Index(names, "."); i >= 0 { // "." sorts among the others
		names = append(slices.Delete(names, i, i+1), ".")
	}
	for _, name := range names {
		if err := p.finishDir(name, p.dirs[name]); err != nil {
			return fmt.Errorf("finishing directory %s: %w", name, err)
		}
	}
	return nil
}

func (p *placer) finishDir(name string, d *dirState) error {
	fd, err := p.directory(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // a later entry replaced it
	}
	if err != nil {
		return err
	}
	self := procPath(fd, ".")
	if d.timeOnly {
		return setTime(self, d.mtime)
	}
	return setMetadata(self, &d.entry, d.existed)
}

// setMetadata follows the order that the kernel asks for: a change of owner clears set-uid bits and capabilities,
// and every change but that of the times is one of the status only.
func setMetadata(path string, e *entry, existed bool) error {
	if err := unix.Lchown(path, int(e.uid), int(e.gid)); err != nil {
		return fmt.Errorf("giving it to %d:%d: %w", e.uid, e.gid, err)
	}
	if e.kind() != unix.S_IFLNK {
		if err := unix.Chmod(path, e.mode&0o7777); err != nil {
			return fmt.Errorf("changing its mode: %w", err)
		}
	}
	if err := writeXattrs(path, e.xattrs, existed); err != nil {
		return err
	}
	return setTime(path, e.mtime)
}

func setTime(path string, mtime unix.Timespec) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("setting its time: %w", err)
	}
	return nil
}
