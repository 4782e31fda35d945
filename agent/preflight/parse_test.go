package preflight

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestParseMount(t *testing.T) {
	m, err := parseMount(`1065 1027 0:62 /a\040b /mnt/x\134y rw,relatime shared:7 master:3 - fuse.sshfs host:/dir rw,user_id=0`)
	require.NoError(t, err)
	assert.Equal(t, mount{id: 1065, parent: 1027, dev: unix.Mkdev(0, 62), root: "/a b", point: `/mnt/x\y`, kind: "fuse.sshfs", shared: "7", master: "3"}, m)
	m, err = parseMount("21 1 253:0 / / ro - ext4 /dev/root ro")
	require.NoError(t, err)
	assert.Equal(t, mount{id: 21, parent: 1, dev: unix.Mkdev(253, 0), root: "/", point: "/", kind: "ext4"}, m)
	for _, bad := range []string{"", "x", "1 2 3:4 / / rw", "1 2 3 / / rw - ext4 x", "1 2 3:4 / / - ", " - "} {
		_, err := parseMount(bad)
		assert.Error(t, err, bad)
	}
}

func TestParseWatch(t *testing.T) {
	w := parseWatch("inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d\n")
	assert.Equal(t, node{unix.Mkdev(8, 0x13), 0x9e7e}, w.node)
	assert.Equal(t, int32(1), w.kind)
	assert.Equal(t, []byte{0x7e, 0x9e, 0, 0, 0x64, 0x0d, 0x1b, 0x6d}, w.handle)
	assert.Nil(t, parseWatch("inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 \n").handle, "the kernel tells none")
	assert.Equal(t, watch{}, parseWatch("inotify wd:3 ino:zz sdev:-1"))
}

func TestReadStatusAndStat(t *testing.T) {
	pid := os.Getpid()
	s, err := readStatus(pid)
	require.NoError(t, err)
	assert.Equal(t, os.Getppid(), s.number("PPid"))
	assert.Positive(t, s.bytes("VmSize"))
	assert.Contains(t, s.pids("NSpid"), pid)
	assert.Zero(t, s.number("no such field"))
	thread, err := readStat(pid, pid)
	require.NoError(t, err)
	assert.Equal(t, s["Name"], thread.name)
	assert.Contains(t, "RSD", string(thread.state))
	_, err = readStatus(1 << 22)
	assert.True(t, ended(err), "%v", err)
}

// The kernel's answers are taken as they come, also if they are not what they should be.
func TestParseSockets(t *testing.T) {
	for name, parse := range map[string]func([]byte) (socket, error){"inet": parseInet, "unix": parseUnix, "netlink": parseNetlink} {
		t.Run(name, func(t *testing.T) {
			for n := range 200 {
				garbage := make([]byte, n)
				for i := range garbage {
					garbage[i] = byte(i*7 + n)
				}
				assert.NotPanics(t, func() { _, _ = parse(garbage) })
			}
			_, err := parse(nil)
			require.ErrorIs(t, err, errShort)
		})
	}
	message := make([]byte, 16)
	message[0], message[1], message[2], message[4] = unix.AF_UNIX, unix.SOCK_STREAM, tcpListen, 9
	attribute := func(kind uint16, value string) {
		length := 4 + len(value)
		message = append(message, byte(length), 0, byte(kind), 0)
		message = append(message, value...)
		for len(message)%4 != 0 {
			message = append(message, 0)
		}
	}
	attribute(unixName, "\x00abstract")
	attribute(unixPending, "\x07\x00\x00\x00\x00\x00\x00\x00")
	attribute(unixShut, "\x03")
	s, err := parseUnix(message)
	require.NoError(t, err)
	assert.Equal(t, socket{family: unix.AF_UNIX, kind: unix.SOCK_STREAM, state: tcpListen, ino: 9, name: "@abstract", pending: []uint32{7, 0}, shut: 3}, s)
}

func TestWithin(t *testing.T) {
	assert.True(t, within("/etc", "/etc"))
	assert.True(t, within("/etc/a", "/etc"))
	assert.True(t, within("/etc", "/"))
	assert.False(t, within("/etcetera", "/etc"))
}

// The processes of a cgroup are those of the cgroups below it too; what goes away meanwhile has none.
func TestMembers(t *testing.T) {
	dir := t.TempDir()
	nested := filepath.Join(dir, "nested", "deeper")
	require.NoError(t, os.MkdirAll(nested, 0o755))
	for path, text := range map[string]string{dir: "12\n13\n", nested: "14\n0\n"} { // 0 is one that can't be seen from here
		require.NoError(t, os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(text), 0o600))
	}
	pids, err := members(dir)
	require.NoError(t, err)
	assert.ElementsMatch(t, []int{12, 13, 14}, pids)
	_, err = members(filepath.Join(dir, "none"))
	require.Error(t, err)
}
