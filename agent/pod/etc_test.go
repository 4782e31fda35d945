package pod

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHosts(t *testing.T) {
	s := Spec{Manifest: parse(t, full), Hostname: "my-redis", Address: netip.MustParseAddr("10.88.0.2")}
	require.Equal(t, `# Written by drover when the container starts.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
fe00::	ip6-mcastprefix
fe00::1	ip6-allnodes
fe00::2	ip6-allrouters
10.88.0.2	my-redis
10.0.0.9	db	db.example.com
`, s.hosts())
}

func TestResolver(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	stub := write("stub", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n")
	served := write("real", "# comment\ndomain old.example.com\nnameserver 10.0.0.1\nnameserver ::1\nnameserver nonsense\nnameserver\nnameserver 2001:db8::1\nsearch a.example.com b.example.com\noptions ndots:5 rotate\n")
	got, err := nodeResolver(stub, served)
	require.NoError(t, err)
	require.Equal(t, "nameserver 10.0.0.1\nnameserver 2001:db8::1\nsearch a.example.com b.example.com\noptions ndots:5 rotate\n", got.String())
	got, err = nodeResolver(filepath.Join(dir, "none"), stub)
	require.NoError(t, err)
	require.Equal(t, "search .\noptions edns0 trust-ad\n", got.String(), "a stub on the node's loopback is no help to a pod")
	got, err = nodeResolver(filepath.Join(dir, "none"))
	require.NoError(t, err)
	require.Empty(t, got.String())
	_, err = nodeResolver(dir)
	require.Error(t, err)

	none, err := parse(t, full).resolver()
	require.NoError(t, err)
	require.Equal(t, "nameserver 10.0.0.53\nsearch example.com .\noptions ndots:2 edns0\n", none.String())
	both, err := parse(t, with("  dnsConfig: {nameservers: [192.0.2.1], searches: [x.example.com], options: [{name: ndots, value: '1'}]}\n", "")).resolverOver(served)
	require.NoError(t, err)
	require.Equal(t, "nameserver 10.0.0.1\nnameserver 2001:db8::1\nnameserver 192.0.2.1\nsearch a.example.com b.example.com x.example.com\noptions ndots:1 rotate\n", both.String())
}

func TestFilesAreWrittenWithinTheRootAlone(t *testing.T) {
	outside := rootWith(t, map[string]string{"hosts": "the host's"})
	read := func(path string) string {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(data)
	}
	t.Run("a link to the host's", func(t *testing.T) {
		root := rootWith(t, map[string]string{"etc/passwd": ""})
		require.NoError(t, os.Symlink(filepath.Join(outside, "hosts"), filepath.Join(root, "etc/hosts")))
		for range 2 {
			require.NoError(t, writeInRoot(root, "/etc", "hosts", "mine"))
		}
		require.Equal(t, "mine", read(filepath.Join(root, "etc/hosts")))
		info, err := os.Lstat(filepath.Join(root, "etc/hosts"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o644), info.Mode())
	})
	t.Run("a directory that is a link to the host's", func(t *testing.T) {
		root := t.TempDir()
		require.NoError(t, os.Symlink(outside, filepath.Join(root, "etc")))
		require.Error(t, writeInRoot(root, "/etc", "hosts", "mine"))
		require.NoError(t, os.MkdirAll(filepath.Join(root, outside), 0o755))
		require.NoError(t, writeInRoot(root, "/etc", "hosts", "mine"), "what the link means within the root")
		require.Equal(t, "mine", read(filepath.Join(root, outside, "hosts")))
	})
	t.Run("a link to an own file with that content", func(t *testing.T) {
		root := rootWith(t, map[string]string{"run/resolv.conf": "mine", "etc/passwd": ""})
		require.NoError(t, os.Symlink("../run/resolv.conf", filepath.Join(root, "etc/resolv.conf")))
		require.NoError(t, writeInRoot(root, "/etc", "resolv.conf", "mine"))
		target, err := os.Readlink(filepath.Join(root, "etc/resolv.conf"))
		require.NoError(t, err)
		require.Equal(t, "../run/resolv.conf", target, "nothing to do")
	})
	t.Run("an image without anything", func(t *testing.T) {
		root := t.TempDir()
		require.NoError(t, writeInRoot(root, "/etc", "hostname", "x\n"))
		require.Equal(t, "x\n", read(filepath.Join(root, "etc/hostname")))
	})
	t.Run("a directory in its place", func(t *testing.T) {
		root := rootWith(t, map[string]string{"etc/hosts/x": ""})
		require.Error(t, writeInRoot(root, "/etc", "hosts", "mine"))
	})
	require.Equal(t, "the host's", read(filepath.Join(outside, "hosts")))
}
