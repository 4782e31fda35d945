package criu

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTmpfsComesBackAsItWas(t *testing.T) {
	from, to, images := t.TempDir(), t.TempDir(), t.TempDir()
	when := time.Unix(1_700_000_000, 123_456_789)
	require.NoError(t, os.Mkdir(filepath.Join(from, "dir"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(from, "dir", "file"), []byte("content"), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(from, "dir", "file"), os.ModeSetuid|0o751))
	require.NoError(t, os.Symlink("dir/file", filepath.Join(from, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(from, "fifo"), 0o622))
	require.NoError(t, os.Chtimes(filepath.Join(from, "dir", "file"), when, when))

	require.NoError(t, packTmpfs(images, map[string]string{"/dev/shm": from}))
	require.FileExists(t, filepath.Join(images, "tmpfs-dev-shm.tar"))
	require.NoError(t, unpackTmpfs(images, map[string]string{"/dev/shm": to, "/other": to}))

	data, err := os.ReadFile(filepath.Join(to, "link"))
	require.NoError(t, err)
	require.Equal(t, "content", string(data))
	info, err := os.Stat(filepath.Join(to, "dir", "file"))
	require.NoError(t, err)
	require.True(t, info.ModTime().Equal(when), info.ModTime())
	require.Equal(t, os.ModeSetuid|0o751, info.Mode())
	info, err = os.Stat(filepath.Join(to, "fifo"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeNamedPipe)
}

func TestEmptyTmpfsHasNoImage(t *testing.T) {
	images := t.TempDir()
	require.NoError(t, packTmpfs(images, map[string]string{"/dev/shm": t.TempDir()}))
	entries, err := os.ReadDir(images)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestTmpfsEntriesStayInside(t *testing.T) {
	outside := t.TempDir()
	for name, entries := range map[string][]tar.Header{
		"parent":              {{Name: "../evil", Typeflag: tar.TypeReg}},
		"absolute":            {{Name: filepath.Join(outside, "evil"), Typeflag: tar.TypeReg}},
		"through a link":      {{Name: "link", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "link/evil", Typeflag: tar.TypeReg}},
		"over a link":         {{Name: "link", Typeflag: tar.TypeSymlink, Linkname: filepath.Join(outside, "evil")}, {Name: "link", Typeflag: tar.TypeReg}},
		"fifo through a link": {{Name: "link", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "link/evil", Typeflag: tar.TypeFifo}},
		"device":              {{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"hard link":           {{Name: "hard", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"the root itself":     {{Name: ".", Typeflag: tar.TypeReg}},
	} {
		t.Run(name, func(t *testing.T) {
			var image bytes.Buffer
			w := tar.NewWriter(&image)
			for _, h := range entries {
				require.NoError(t, w.WriteHeader(&h))
			}
			require.NoError(t, w.Close())
			require.Error(t, unpack(&image, t.TempDir()))
			left, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
	require.Error(t, unpack(bytes.NewReader([]byte("not a tar file")), t.TempDir()))
}
