package pod

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nredis:x:101:102::/var/lib/redis:/bin/false\nweb:x:33:33::/var/www:/bin/sh\nbad line\n"
	groups = "root:x:0:\ndisk:x:6:web,redis\nssl:x:110:redis\nredis:x:102:\nstaff:x:50:root\n"
)

// rootWith makes a root file system of those files.
func rootWith(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return root
}

func TestUserOfManifestAndImage(t *testing.T) {
	root := rootWith(t, map[string]string{"etc/passwd": passwd, "etc/group": groups})
	user := func(uid, gid uint32, more ...uint32) specs.User {
		return specs.User{UID: uid, GID: gid, AdditionalGids: more}
	}
	id := func(n int64) *int64 { return &n }
	for _, test := range []struct {
		security security
		image    string
		want     specs.User
		err      string
	}{
		{want: user(0, 0, 0, 50)},
		{image: "redis", want: user(101, 102, 6, 102, 110)},
		{image: "101", want: user(101, 102, 6, 102, 110)},
		{image: "redis:ssl", want: user(101, 110, 6, 110)},
		{image: "33:7", want: user(33, 7, 6, 7)},
		{image: "4711", want: user(4711, 0, 0)},
		{image: "4711:4712", want: user(4711, 4712, 4712)},
		{image: "nobody", err: `the image's user "nobody": unable to find user nobody`},
		{image: "redis:nogroup", err: "unable to find group nogroup"},
		{image: "redis", security: security{user: id(33)}, want: user(33, 33, 6, 33)},
		{image: "redis", security: security{user: id(33), group: id(9)}, want: user(33, 9, 6, 9)},
		{image: "redis", security: security{group: id(9)}, want: user(101, 9, 6, 9, 110)},
		{security: security{user: id(5000)}, want: user(5000, 0, 0)},
		{image: "redis", security: security{groups: []int64{2000, 110, 3000}}, want: user(101, 102, 6, 102, 110, 2000, 3000)},
		{image: "redis", security: security{groups: []int64{2000}, strictGroups: true}, want: user(101, 102, 102, 2000)},
		{image: "redis", security: security{nonRoot: true}, want: user(101, 102, 6, 102, 110)},
		{security: security{nonRoot: true}, err: "runAsNonRoot forbids that it runs as root"},
		{image: "0:33", security: security{nonRoot: true}, err: "runAsNonRoot forbids"},
	} {
		got, err := test.security.identity(root, test.image)
		if test.err != "" {
			require.ErrorContains(t, err, test.err, "%+v", test)
			continue
		}
		require.NoError(t, err, "%+v", test)
		require.Equal(t, test.want, got, "%+v", test)
	}
}

func TestUsersAreLookedUpWithinTheRootAlone(t *testing.T) {
	outside := rootWith(t, map[string]string{"passwd": "evil:x:0:0::/:/bin/sh\n"})
	root := rootWith(t, map[string]string{"real/passwd": passwd})
	require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	link := filepath.Join(root, "etc/passwd")
	try := func(target, user string) error {
		_ = os.Remove(link)
		require.NoError(t, os.Symlink(target, link))
		_, err := security{}.identity(root, user)
		return err
	}
	require.NoError(t, try("/real/passwd", "redis"), "an absolute link is the root's own")
	require.NoError(t, try("../../../../real/passwd", "redis"), "as .. is")
	require.ErrorContains(t, try(filepath.Join(outside, "passwd"), "evil"), "unable to find user evil")
	require.Error(t, try("/etc/passwd", "redis"), "a loop")

	require.NoError(t, os.Remove(link))
	require.NoError(t, unix.Mkfifo(link, 0o644))
	_, err := security{}.identity(root, "redis")
	require.ErrorContains(t, err, "/etc/passwd is no regular file")
	require.NoError(t, os.Remove(link))
	require.NoError(t, os.WriteFile(link, []byte(strings.Repeat("#", maxAccounts+1)), 0o644))
	_, err = security{}.identity(root, "redis")
	require.ErrorContains(t, err, "/etc/passwd has more than 4194304 bytes")
}
