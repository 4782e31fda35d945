package volumes

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// describe lists all there is to know of a tree but what can't be the same elsewhere: inode numbers, access and
// change times. Hard links are told by the first name of their file.
func describe(t testing.TB, root string) map[string]string {
	t.Helper()
	tree := make(map[string]string)
	first := make(map[uint64]string)
	require.NoError(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		attrs, err := readXattrs(p)
		if err != nil {
			return err
		}
		kind := st.Mode & unix.S_IFMT
		if kind == unix.S_IFCHR && st.Rdev == 0 { // of a whiteout nothing else counts, and all may be names of one inode
			tree[name] = "whiteout"
			return nil
		}
		line := fmt.Sprintf("mode %o owner %d:%d attributes %q time %d.%09d", st.Mode, st.Uid, st.Gid, attrs, st.Mtim.Sec, st.Mtim.Nsec)
		switch kind {
		case unix.S_IFREG:
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" size %d content %s", st.Size, digestOf(content))
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " to " + target
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" device %d", st.Rdev)
		}
		if kind != unix.S_IFDIR && st.Nlink > 1 {
			if _, ok := first[st.Ino]; !ok {
				first[st.Ino] = name
			}
			line += fmt.Sprintf(" linked to %s (%d)", first[st.Ino], st.Nlink)
		}
		tree[name] = line
		return nil
	}))
	return tree
}

// requireSameTree shows what differs, and only that.
func requireSameTree(t testing.TB, want, got string) {
	t.Helper()
	wanted, found := describe(t, want), describe(t, got)
	for name, line := range wanted {
		if found[name] == line {
			delete(wanted, name)
			delete(found, name)
		}
	}
	require.Equal(t, wanted, found)
}
