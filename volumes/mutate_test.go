package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A mutator changes a tree at random, as a pod would through its overlay, and by whatever else a file system can do.
type mutator struct {
	*rand.Rand
	root  string
	asPod bool // through the overlay: leaves whiteouts and overlayfs's own attributes alone
	super bool // owners, devices, trusted attributes
}

// newMutator returns one for a new tree; its seed is logged.
func newMutator(t testing.TB, seed uint64) *mutator {
	t.Helper()
	t.Logf("seed %d", seed)
	return &mutator{Rand: rand.New(rand.NewPCG(seed, 7)), root: filepath.Join(t.TempDir(), "upper"), super: os.Geteuid() == 0}
}

// names are few, so that files of all types replace each other.
func (m *mutator) name() string {
	names := []string{"a", "b", "c", "d", "e\xff\xfe", "with blank", "ü"}
	p := m.root
	for range 1 + m.IntN(3) {
		p = filepath.Join(p, names[m.IntN(len(names))])
	}
	return p
}

func (m *mutator) existing() string {
	var all []string
	_ = filepath.WalkDir(m.root, func(p string, _ fs.DirEntry, err error) error {
		if err == nil {
			all = append(all, p)
		}
		return nil
	})
	return all[m.IntN(len(all))]
}

func (m *mutator) change(t testing.TB) {
	t.Helper()
	what, err := m.try()
	// Names are random: there may be nothing, or something else, where a change needs a file.
	for _, ok := range []error{fs.ErrNotExist, fs.ErrExist, unix.ENOTDIR, unix.EISDIR, unix.ENOTEMPTY, unix.EINVAL, unix.EPERM, unix.ENODATA, unix.ELOOP, unix.EBUSY, unix.ENXIO, unix.EOPNOTSUPP, unix.EACCES, unix.EXDEV} {
		if errors.Is(err, ok) {
			return
		}
	}
	require.NoError(t, err, what)
}

func (m *mutator) try() (string, error) {
	p := m.name()
	_ = os.MkdirAll(filepath.Dir(p), 0o755)
	switch m.IntN(17) {
	case 0:
		return "mkdir", os.MkdirAll(p, 0o755)
	case 1:
		return "write", m.write(p)
	case 2:
		return "rewrite with the old time", m.rewriteQuietly(m.existing())
	case 3:
		return "sparse", m.sparse(p)
	case 4:
		return "symlink", os.Symlink("../x\xff/"+p, p)
	case 5:
		return "link", os.Link(m.existing(), p)
	case 6:
		if e := m.existing(); e != m.root {
			return "remove", os.RemoveAll(e)
		}
		return "", nil
	case 7:
		if e := m.existing(); e != m.root {
			return "rename", os.Rename(e, p)
		}
		return "", nil
	case 8:
		return "fifo", unix.Mkfifo(p, 0o640)
	case 9:
		return "socket", unix.Mknod(p, unix.S_IFSOCK|0o600, 0)
	case 10:
		if m.asPod {
			return "", nil
		}
		return "whiteout", unix.Mknod(p, unix.S_IFCHR, 0)
	case 11:
		return "mode", m.chmod(m.existing())
	case 12:
		return "xattr", m.setXattr(m.existing())
	case 13:
		return "time", setTime(m.existing(), unix.Timespec{Sec: m.Int64N(2e9), Nsec: m.Int64N(1e9)})
	case 14:
		return "truncate", os.Truncate(m.existing(), m.Int64N(10000))
	case 15:
		return "append", m.appendTo(m.existing())
	}
	return m.trySuper(p)
}

func (m *mutator) trySuper(p string) (string, error) {
	if !m.super {
		return "", nil
	}
	switch kind := m.IntN(4); {
	case m.asPod && kind >= 2:
		return "", nil
	case kind == 0:
		return "owner", os.Lchown(m.existing(), m.IntN(70000), m.IntN(70000))
	case kind == 1:
		return "device", unix.Mknod(p, unix.S_IFBLK|0o660, int(unix.Mkdev(uint32(m.IntN(300)), uint32(m.IntN(70000)))))
	case kind == 2:
		return "opaque", unix.Lsetxattr(m.dir(), opaqueXattr, []byte("y"), 0)
	}
	if m.IntN(2) == 0 {
		return "internal", unix.Lsetxattr(m.existing(), overlayPrefix+"origin", []byte("never shipped"), 0)
	}
	// struct vfs_cap_data of linux/capability.h, revision 2: cap_net_raw
	return "capability", unix.Lsetxattr(m.existing(), "security.capability", append([]byte{1, 0, 0, 2, 0, 0x20}, make([]byte, 14)...), 0)
}

func (m *mutator) dir() string {
	for {
		e := m.existing()
		if info, err := os.Lstat(e); err == nil && info.IsDir() {
			return e
		}
	}
}

func (m *mutator) content() []byte {
	b := make([]byte, m.IntN(1<<(4+m.IntN(14))))
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

// write doesn't block where the name is that of a FIFO.
func (m *mutator) write(p string) error {
	return m.with(p, unix.O_CREAT|unix.O_TRUNC, func(f *os.File) error { _, err := f.Write(m.content()); return err })
}

func (m *mutator) with(p string, flags int, do func(*os.File) error) error {
	f, err := os.OpenFile(p, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func (m *mutator) appendTo(p string) error {
	return m.with(p, os.O_APPEND, func(f *os.File) error { _, err := f.Write(m.content()); return err })
}

func (m *mutator) rewriteQuietly(p string) error {
	info, err := os.Lstat(p)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	return errors.Join(m.with(p, 0, func(f *os.File) error {
		_, err := f.WriteAt([]byte(fmt.Sprint(m.Uint64())), 0)
		return err
	}), os.Chtimes(p, time.Time{}, info.ModTime()))
}

func (m *mutator) sparse(p string) error {
	return m.with(p, unix.O_CREAT, func(f *os.File) error {
		if err := f.Truncate(m.Int64N(3 << 20)); err != nil {
			return err
		}
		_, err := f.WriteAt(m.content(), m.Int64N(2<<20))
		return err
	})
}

func (m *mutator) chmod(p string) error {
	info, err := os.Lstat(p)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	mode := uint32(m.IntN(0o10000))
	if !m.super {
		mode |= 0o700 // else even the test can't look inside
	}
	return unix.Chmod(p, mode)
}

func (m *mutator) setXattr(p string) error {
	name := fmt.Sprintf("user.x=%d", m.IntN(3))
	if m.super && m.IntN(2) == 0 {
		name = "trusted.x"
	}
	if m.IntN(3) == 0 {
		return unix.Lremovexattr(p, name)
	}
	return unix.Lsetxattr(p, name, m.content()[:0:0], 0)
}
