//go:build root

package offender

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/isolation"
)

// What people do to a container from outside.

// accepts lets somebody outside listen at a socket in the container, and accept whoever comes.
func accepts(t *testing.T, c *container) {
	listener, err := net.Listen("unix", filepath.Join(c.dir, "root/outside"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
}

// gives lets somebody outside give a descriptor to the container.
func gives(open func() (int, error)) func(*testing.T, *container) {
	return func(t *testing.T, c *container) {
		fd, err := open()
		require.NoError(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Bind(listener, &unix.SockaddrUnix{Name: filepath.Join(c.dir, "root/outside")}))
		require.NoError(t, unix.Listen(listener, 1))
		go func() { _ = give(listener, fd) }()
	}
}

func executes(t *testing.T, c *container) {
	shell(t, "runc --root %s/runc exec --detach --env %s %s /offender </dev/null >/dev/null 2>&1", c.dir, isolation.Environ("child"), c.id)
	eventually(t, "the program", func() bool {
		for pid := range strings.FieldsSeq(read(filepath.Join(c.freezer().Path(), "cgroup.procs"))) {
			if pid != itoa(c.init) && read(filepath.Join("/proc", pid, "comm")) == "offender\n" {
				return true
			}
		}
		return false
	})
}

// mounts puts a directory of the host into the container.
func mounts(t *testing.T, c *container) {
	source := t.TempDir()
	require.NoError(t, unix.Mount("host", source, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(source, unix.MNT_DETACH) })
	require.NoError(t, os.Mkdir(filepath.Join(source, "part"), 0o755))
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is lost to its namespace
		done <- func() error {
			tree, err := unix.OpenTree(unix.AT_FDCWD, filepath.Join(source, "part"), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(tree)
			ns, err := unix.Open(filepath.Join("/proc", itoa(c.init), "ns/mnt"), unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(ns)
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
				return err
			}
			return unix.MoveMount(tree, "", unix.AT_FDCWD, "/mnt", unix.MOVE_MOUNT_F_EMPTY_PATH)
		}()
	}()
	require.NoError(t, <-done)
}

// traces attaches a debugger until the test ends.
func traces(t *testing.T, c *container) {
	begun, end, ended := make(chan error), make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the tracer is a thread
		const seize, interrupt = 0x4206, 0x4207
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, seize, uintptr(c.init), 0, 0, 0, 0)
		begun <- result(errno)
		<-end
		_, _, _ = unix.Syscall6(unix.SYS_PTRACE, interrupt, uintptr(c.init), 0, 0, 0, 0)
		_, _ = unix.Wait4(c.init, nil, unix.WALL, nil)
		ended <- unix.PtraceDetach(c.init)
	}()
	require.NoError(t, <-begun)
	t.Cleanup(func() {
		close(end)
		require.NoError(t, <-ended)
	})
}

func addsDevice(t *testing.T, c *container) {
	shell(t, "ip -n %s link add extra0 type veth peer name extra1", c.pod.netns)
}

func addsRules(t *testing.T, c *container) {
	ns, err := netns.GetFromName(c.pod.netns)
	require.NoError(t, err)
	defer ns.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	require.NoError(t, err)
	conn.AddTable(&nftables.Table{Name: "extra", Family: nftables.TableFamilyINet})
	require.NoError(t, conn.Flush())
}
