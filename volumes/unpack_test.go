package volumes

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"
)

func TestUnsafeEntriesAreRefusedByName(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.Mkdir(outside, 0o755))
	withXattr := func(name, value string) tarFile {
		f := directory("d")
		f.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
		return f
	}
	for name, c := range map[string]struct {
		files []tarFile
		want  string
	}{
		"dots":                   {[]tarFile{regular("../x", "x")}, `layer entry "../x" would land outside its root`},
		"dots inside":            {[]tarFile{regular("etc/../../x", "x")}, `layer entry "etc/../../x" would land outside its root`},
		"through a link":         {[]tarFile{directory("etc"), symlink("etc/x", outside), regular("etc/x/passwd", "x")}, `layer entry "etc/x/passwd" would land outside its root: etc/x is a symbolic link`},
		"through a link inside":  {[]tarFile{directory("etc"), symlink("lib", "etc"), regular("lib/passwd", "x")}, `layer entry "lib/passwd" would land outside its root: lib is a symbolic link`},
		"directory in a link":    {[]tarFile{symlink("a", outside), directory("a/b/c")}, `layer entry "a/b/c" would land outside its root: a is a symbolic link`},
		"where a directory was":  {[]tarFile{directory("c"), regular("c/x", "x"), symlink("c", outside), regular("c/y", "y")}, `layer entry "c/y" would land outside its root: c is a symbolic link`},
		"through a file":         {[]tarFile{regular("a", "x"), regular("a/b", "x")}, `layer entry "a/b" has no place: a is not a directory`},
		"link to outside":        {[]tarFile{hardLink("x", "../../etc/passwd")}, `layer entry "x" is a hard link to "../../etc/passwd", which lies outside its root`},
		"link to absolute":       {[]tarFile{hardLink("x", "/etc/passwd")}, `layer entry "x" is a hard link to "etc/passwd", which is no file of this layer`},
		"link through a link":    {[]tarFile{symlink("s", outside), hardLink("x", "s/secret")}, `layer entry "x" is a hard link to "s/secret", which would land outside its root: s is a symbolic link`},
		"link to directory":      {[]tarFile{directory("d"), hardLink("x", "d")}, `layer entry "x" is a hard link to "d", which is no file of this layer`},
		"root is a link":         {[]tarFile{symlink("./", outside)}, `layer entry "." is the root`},
		"redirect":               {[]tarFile{withXattr("trusted.overlay.redirect", "/etc")}, `layer entry "d" sets trusted.overlay.redirect`},
		"opaque in a user's tar": {[]tarFile{withXattr("trusted.overlay.opaque", "y")}, `layer entry "d" sets trusted.overlay.opaque`},
		"long element":           {[]tarFile{regular(strings.Repeat("x", 256), "")}, `256 bytes`},
		"long name":              {[]tarFile{directory(strings.Repeat("xxx/", 1500))}, `6000 bytes`},
		"whiteout file":          {[]tarFile{regular("etc/.wh.passwd", "")}, `layer entry "etc/.wh.passwd" is an OCI whiteout`},
		"unknown type":           {[]tarFile{{Header: tar.Header{Name: "x", Typeflag: 'Z'}}}, `layer entry "x" has a type`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			_, err := load(t, s, "bad", bytes.NewReader(tarOf(t, c.files...)))
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			require.ErrorContains(t, err, c.want)
			requireEmpty(t, s)
			left, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestLaterEntriesReplaceEarlierOnes(t *testing.T) {
	s := newStore(t)
	image, err := load(t, s, "x", bytes.NewReader(tarOf(t,
		regular("/a", "old"), regular("a", "new"), // a leading / is only how it is written
		symlink("b", "a"), regular("b", "file"), // not through the link
		directory("c"), regular("c/x", "x"), symlink("c", "a"), // a directory goes with what it holds
		regular("d", "file"), directory("d"), regular("d/x", "x"),
	)))
	require.NoError(t, err)
	layer := s.layerPath(image.Digest)
	require.Equal(t, "new", read(t, layer, "a"))
	require.Equal(t, "file", read(t, layer, "b"))
	target, err := os.Readlink(filepath.Join(layer, "c"))
	require.NoError(t, err)
	require.Equal(t, "a", target)
	require.Equal(t, "x", read(t, layer, "d/x"))
	info, err := os.Stat(filepath.Join(layer, "d"))
	require.NoError(t, err)
	require.Equal(t, someTime, info.ModTime(), "directories get their times last")
}

func FuzzLoad(f *testing.F) {
	f.Add(sampleTar(f))
	f.Add(tarOf(f, symlink("a", "/"), regular("a/etc/x", "x")))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	f.Add(tarDir(f, layoutOf(f, map[string]any{"x:1": twoLayers(f)})))
	f.Add(archiveOf(f, map[string]v1.Image{"x:1": twoLayers(f)}))
	s := newStore(f, WithLimits(Limits{Entries: 1000, Bytes: 1 << 20}))
	f.Fuzz(func(t *testing.T, b []byte) {
		image, err := load(t, s, "x", bytes.NewReader(b))
		if err == nil {
			_, err := s.Remove(image.Name)
			require.NoError(t, err)
		}
		requireEmpty(t, s)
	})
}
