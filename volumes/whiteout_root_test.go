//go:build root

package volumes

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// show lists a tree: the files with their content, the directories with a slash.
func show(t testing.TB, dir string) string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		name := strings.TrimPrefix(path, dir+"/")
		switch {
		case path == dir:
		case d.IsDir():
			out = append(out, name+"/")
		case d.Type().IsRegular():
			out = append(out, name+"="+read(t, path))
		default:
			out = append(out, fmt.Sprintf("%s?%s", name, d.Type()))
		}
		return nil
	}))
	return strings.Join(out, " ")
}

func TestWhiteoutsHideWhatIsBelow(t *testing.T) {
	needRoot(t)
	lower := []tarFile{
		directory("./"), directory("a/"), regular("a/x", "1"), regular("a/y", "1"), directory("b/"), regular("b/x", "1"),
		directory("b/c/"), regular("b/c/x", "1"), regular("d", "1"),
	}
	all := "a/ a/x=1 a/y=1 b/ b/c/ b/c/x=1 b/x=1 d=1"
	for name, c := range map[string]struct {
		layers [][]tarFile
		want   string
	}{
		"nothing":           {nil, all},
		"a file":            {[][]tarFile{{regular("a/.wh.x", "")}}, "a/ a/y=1 b/ b/c/ b/c/x=1 b/x=1 d=1"},
		"a directory":       {[][]tarFile{{regular(".wh.b", "")}}, "a/ a/x=1 a/y=1 d=1"},
		"opaque":            {[][]tarFile{{directory("b/"), regular("b/.wh..wh..opq", ""), regular("b/new", "2")}}, "a/ a/x=1 a/y=1 b/ b/new=2 d=1"},
		"opaque last":       {[][]tarFile{{regular("b/new", "2"), regular("b/.wh..wh..opq", "")}}, "a/ a/x=1 a/y=1 b/ b/new=2 d=1"},
		"opaque root":       {[][]tarFile{{regular(".wh..wh..opq", ""), regular("new", "2")}}, "new=2"},
		"replaced":          {[][]tarFile{{regular(".wh.b", ""), directory("b/"), regular("b/new", "2")}}, "a/ a/x=1 a/y=1 b/ b/new=2 d=1"},
		"replaced first":    {[][]tarFile{{regular("b/new", "2"), regular(".wh.b", "")}}, "a/ a/x=1 a/y=1 b/ b/new=2 d=1"},
		"by a file":         {[][]tarFile{{regular(".wh.b", ""), regular("b", "2")}}, "a/ a/x=1 a/y=1 b=2 d=1"},
		"hidden twice":      {[][]tarFile{{regular(".wh.b", ""), regular(".wh.b", ""), regular("b/.wh.c", "")}}, "a/ a/x=1 a/y=1 d=1"},
		"and back":          {[][]tarFile{{regular(".wh.b", "")}, {regular("b/x", "3")}}, "a/ a/x=1 a/y=1 b/ b/x=3 d=1"},
		"of nothing":        {[][]tarFile{{regular("n/.wh.x", ""), regular("n/y", "2")}, {regular("n/z", "3")}}, all + " n/ n/y=2 n/z=3"},
		"of nothing at all": {[][]tarFile{{regular("n/.wh.x", ""), regular("n/y", "2")}}, all + " n/ n/y=2"},
		"in the lowest":     {[][]tarFile{{regular(".wh..wh..opq", ""), directory("n/"), regular("n/.wh.x", ""), regular(".wh.m", "")}}, "n/"},
		"a layer again":     {[][]tarFile{{regular("d", "2")}, {regular("d", "3")}, {regular("d", "2")}}, strings.Replace(all, "d=1", "d=2", 1)},
		"an empty layer":    {[][]tarFile{{}}, all},
		"two empty ones":    {[][]tarFile{{}, {}}, all},
		"only a mark":       {[][]tarFile{{regular("b/c/.wh.x", "")}}, "a/ a/x=1 a/y=1 b/ b/c/ b/x=1 d=1"},
		"more than a page": {func() (more [][]tarFile) {
			for i := range 100 {
				more = append(more, []tarFile{regular("d", fmt.Sprint(i))})
			}
			return more
		}(), strings.Replace(all, "d=1", "d=99", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			layers := [][]byte{tarOf(t, lower...)}
			for _, files := range c.layers {
				layers = append(layers, tarOf(t, files...))
			}
			image, err := load(t, s, "x", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"x:1": imageOf(t, layers...)}))))
			require.NoError(t, err)
			require.Len(t, image.Layers, len(layers))
			root := mounted(t, s, "pod-1", image.Layers)
			require.Equal(t, c.want, show(t, root.Path))
			requireGone(t, root, c.want)
		})
	}
}

// requireGone writes over what a test sees and what it doesn't, as a pod would.
func requireGone(t *testing.T, root Root, want string) {
	if strings.Contains(want, "b=") {
		return
	}
	require.NoError(t, os.MkdirAll(filepath.Join(root.Path, "b/c"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root.Path, "b/c/x"), []byte("pod"), 0o644))
	require.Equal(t, "pod", read(t, root.Path, "b/c/x"))
	require.NoError(t, os.RemoveAll(filepath.Join(root.Path, "b")))
	require.NoDirExists(t, filepath.Join(root.Path, "b"))
}

func TestImpliedDirectoriesStayAsTheyAreBelow(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	content, err := os.ReadFile("testdata/greeter-oci.tar")
	require.NoError(t, err)
	images, err := s.Load(t.Context(), LoadOptions{}, bytes.NewReader(content))
	require.NoError(t, err)
	root := mounted(t, s, "pod-1", images[0].Layers)
	require.Equal(t, "etc/ etc/docs?L--------- etc/greeting=hello from the lower layer etc/greeting.link=hello from the lower layer "+
		"etc/greeting2=hello from the upper layer tmp/ tmp/left=sticky usr/ usr/share/ usr/share/doc/ usr/share/doc/news=new", show(t, root.Path))
	info, err := os.Stat(filepath.Join(root.Path, "tmp"))
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|fs.ModeSticky|0o777, info.Mode(), "/tmp is as the first layer describes it")
	require.Equal(t, 2026, info.ModTime().Year())

	sticky := directory("deep/er/tmp/")
	sticky.Mode, sticky.uid = 0o1777, 1234
	deep := directory("deep/")
	deep.Mode, deep.uid = 0o700, 4321
	bottom := tarOf(t, directory("./"), deep, directory("deep/er/"), sticky, directory("gone/"), directory("other/"))
	middle := tarOf(t, regular("deep/er/tmp/x", "x"), regular(".wh.gone", ""))
	top := tarOf(t, regular("deep/er/tmp/y", "y"), regular("gone/z", "z"))
	image, err := load(t, s, "x", bytes.NewReader(tarDir(t, layoutOf(t, map[string]any{"x:1": imageOf(t, bottom, middle, top)}))))
	require.NoError(t, err)
	deepRoot := mounted(t, s, "pod-2", image.Layers)
	require.Equal(t, "deep/ deep/er/ deep/er/tmp/ deep/er/tmp/x=x deep/er/tmp/y=y gone/ gone/z=z other/", show(t, deepRoot.Path))
	for path, want := range map[string]unix.Stat_t{
		"deep": {Mode: 0o700, Uid: 4321}, "deep/er": {Mode: 0o755}, "deep/er/tmp": {Mode: 0o1777, Uid: 1234}, "gone": {Mode: 0o755},
	} {
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(filepath.Join(deepRoot.Path, path), &st))
		require.Equal(t, want.Mode, st.Mode&0o7777, path)
		require.Equal(t, want.Uid, st.Uid, path)
	}
	require.Equal(t, "deep/ deep/er/ deep/er/tmp/", show(t, deepRoot.Upper), "only what has to be there")
}
