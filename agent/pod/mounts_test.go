package pod

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestBindsOfAContainer(t *testing.T) {
	r := &Runtime{config: Config{RunDir: "/run/drover"}}
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "run"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(root, "var"), 0o755))
	require.NoError(t, os.Symlink("/run", filepath.Join(root, "var/run")))
	m := parse(t, with(`  volumes: [{name: disk}, {name: fast, emptyDir: {medium: Memory}}, {name: own, persistentVolumeClaim: {claimName: own, readOnly: true}}, {name: host, hostPath: {path: /srv}}]
`, `    volumeMounts:
    - {name: fast, mountPath: /data/fast, readOnly: true}
    - {name: disk, mountPath: /data}
    - {name: disk, mountPath: /var/run/x/, subPath: a/b}
    - {name: own, mountPath: /own}
    - {name: host, mountPath: /host}
`))
	s := Spec{UID: "u1", Manifest: m, Volumes: map[string]string{"disk": "/state/disk", "own": "/state/own"}}
	list := func(m *Manifest) (all [][]string) {
		s.Manifest = m
		binds, err := r.binds(s, Container{Name: "redis", Root: root})
		require.NoError(t, err)
		for _, b := range binds {
			require.Equal(t, "bind", b.Type)
			all = append(all, append([]string{b.Destination, b.Source}, b.Options...))
		}
		return all
	}
	const pod = "/run/drover/pods/u1/"
	require.Equal(t, [][]string{
		{"/data", "/state/disk", "bind", "rprivate"},
		{"/own", "/state/own", "bind", "rprivate", "ro"},
		{"/host", "/srv", "rbind", "rprivate"},
		{"/data/fast", pod + "_volumes/fast", "bind", "rprivate", "ro"},
		{"/run/x", pod + "_subpaths/redis/2", "bind", "rprivate"},
		{"/dev/shm", pod + "_shm", "bind", "nosuid", "noexec", "nodev", "rprivate"},
	}, list(m), "the outer before the inner, links resolved as runc does")
	require.Equal(t, [][]string{{"/dev/shm", pod + "_volumes/fast", "bind", "rprivate"}},
		list(parse(t, with("  volumes: [{name: fast, emptyDir: {medium: Memory}}]\n", "    volumeMounts: [{name: fast, mountPath: /dev/shm}]\n"))),
		"a volume in place of the pod's shared memory")
}

func TestPathsBeneathAVolume(t *testing.T) {
	outside := rootWith(t, map[string]string{"secret": "x"})
	dir := rootWith(t, map[string]string{"a/b/file": "x"})
	for name, target := range map[string]string{"inside": "a/b", "up": "../" + filepath.Base(outside), "absolute": outside, "loop": "loop", "dangling": "a/none", "own": dir} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	for name, want := range map[string]error{
		"a/b/file": nil, "inside/file": nil, "a/../a/b": nil, ".": nil, "a/none": unix.ENOENT, "up/secret": unix.EXDEV, "absolute/secret": unix.EXDEV,
		"..": unix.EXDEV, "/etc/passwd": unix.EXDEV, "own/a": unix.EXDEV, "loop": unix.ELOOP, "dangling": unix.ENOENT,
	} {
		f, err := openBeneath(dir, name, unix.O_PATH)
		require.ErrorIs(t, err, want, name)
		if err == nil {
			f.Close()
		}
	}
	require.NoError(t, os.Chmod(dir, 0o777))
	require.NoError(t, mkdirBeneath(dir, "new/deep/"))
	info, err := os.Stat(filepath.Join(dir, "new/deep"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o777), info.Mode().Perm(), "as the volume, whatever the umask")
	require.ErrorIs(t, mkdirBeneath(dir, "up/new"), unix.EXDEV)
	require.NoFileExists(t, filepath.Join(outside, "new"))
	require.Error(t, mkdirBeneath(dir, "dangling/x"))
}

func TestHostPathsAreWhatTheyShallBe(t *testing.T) {
	dir := rootWith(t, map[string]string{"file": ""})
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, test := range []struct{ name, kind, err string }{
		{"file", "", ""}, {"file", "File", ""}, {"file", "FileOrCreate", ""}, {".", "Directory", ""}, {".", "DirectoryOrCreate", ""},
		{"file", "Directory", "file of this node is no Directory"}, {"file", "DirectoryOrCreate", "is no Directory"}, {".", "File", "is no File"},
		{".", "FileOrCreate", "is no File"}, {"file", "Socket", "is no Socket"},
		{"none", "File", "none is not on this node"}, {"none", "Directory", "is not on this node"}, {"none", "Socket", "is not on this node"},
		{"new/dir", "DirectoryOrCreate", ""}, {"untyped", "", ""}, {"newfile", "FileOrCreate", ""}, {"no/file", "FileOrCreate", "no such file"},
	} {
		err := prepareHost(Volume{Path: path(test.name), Type: test.kind})
		if test.err == "" {
			require.NoError(t, err, "%v", test)
		} else {
			require.ErrorContains(t, err, test.err, "%v", test)
		}
	}
	require.DirExists(t, path("new/dir"))
	require.DirExists(t, path("untyped"))
	require.FileExists(t, path("newfile"))
}
