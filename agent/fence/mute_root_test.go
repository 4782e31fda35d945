//go:build root

package fence

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// wire is a host's network namespace with two pods: each has a device at the host, and sends to the host.
type wire struct {
	t    *testing.T
	host netns.NsHandle
	mute *Mute
	hear net.PacketConn
}

func newWire(t *testing.T) *wire {
	w := &wire{t: t}
	w.host = newNamespace(t)
	w.mute = NewMute(int(w.host))
	w.within(w.host, func() {
		var err error
		w.hear, err = net.ListenPacket("udp4", ":4088")
		require.NoError(t, err)
	})
	t.Cleanup(func() { w.hear.Close() })
	return w
}

func newNamespace(t *testing.T) (ns netns.NsHandle) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // it ends with its thread
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = netns.Get()
		}
		done <- err
	}()
	require.NoError(t, <-done)
	t.Cleanup(func() { ns.Close() })
	return ns
}

// within runs f on a thread of that namespace.
func (w *wire) within(ns netns.NsHandle, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		require.NoError(w.t, netns.Set(ns))
		f()
	}()
	<-done
}

// sender connects a pod by that device at the host, and returns what sends from it.
func (w *wire) sender(device string, subnet byte) net.Conn {
	pod := newNamespace(w.t)
	at := func(last byte) *netlink.Addr {
		return &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, subnet, last), Mask: net.CIDRMask(24, 32)}}
	}
	w.within(w.host, func() {
		veth := netlink.NewVeth(netlink.NewLinkAttrs())
		veth.Name, veth.PeerName, veth.PeerNamespace = device, "eth0", netlink.NsFd(int(pod))
		require.NoError(w.t, netlink.LinkAdd(veth))
		raise(w.t, device, at(1))
	})
	var conn net.Conn
	w.within(pod, func() {
		raise(w.t, "eth0", at(2))
		var err error
		conn, err = net.Dial("udp4", net.JoinHostPort(at(1).IP.String(), "4088"))
		require.NoError(w.t, err)
	})
	w.t.Cleanup(func() { conn.Close() })
	require.Eventually(w.t, func() bool { return w.passes(conn) }, 5*time.Second, time.Millisecond, "the devices are up")
	return conn
}

func raise(t *testing.T, device string, addr *netlink.Addr) {
	link, err := netlink.LinkByName(device)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(link, addr))
	require.NoError(t, netlink.LinkSetUp(link))
}

// passes says whether a packet gets to the host.
func (w *wire) passes(conn net.Conn) bool {
	word := time.Now().String()
	if _, err := conn.Write([]byte(word)); err != nil {
		return false
	}
	buf := make([]byte, 100)
	require.NoError(w.t, w.hear.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	for { // what has come before may be late
		n, _, err := w.hear.ReadFrom(buf)
		if err != nil || string(buf[:n]) == word {
			return err == nil
		}
	}
}

func TestMuteLetsPassWhileTheLeaseLasts(t *testing.T) {
	w := newWire(t)
	leased, other := w.sender("drv1", 1), w.sender("drv2", 2)
	require.NoError(t, w.mute.Add("web", "drv1"))
	require.False(t, w.passes(leased), "it fails closed: nothing has said that there is a lease")
	require.True(t, w.passes(other), "a pod without a policy isn't muted")

	const lease = 400 * time.Millisecond
	end := time.Now().Add(lease)
	require.NoError(t, w.mute.Pass([]string{"drv1"}, lease))
	require.True(t, w.passes(leased))
	require.NoError(t, w.mute.Add("web", "drv1"), "again, while it passes")
	require.True(t, w.passes(leased))

	// Nobody does anything from here on.
	last := time.Now()
	for w.passes(leased) {
		last = time.Now()
	}
	require.WithinDuration(t, end, last, 200*time.Millisecond)
	require.False(t, w.passes(leased))
	require.True(t, w.passes(other))
	t.Logf("the last packet came %v after the end of the lease", last.Sub(end))

	require.NoError(t, w.mute.Also("drv1", 0))
	require.False(t, w.passes(leased))
	require.NoError(t, w.mute.Also("drv1", time.Hour))
	require.NoError(t, w.mute.Also("drv1", time.Hour), "it may send already")
	require.True(t, w.passes(leased))
	require.NoError(t, w.mute.Pass([]string{"drv1"}, time.Minute), "a renewal takes the place of the one before")
	require.True(t, w.passes(leased))
	require.NoError(t, w.mute.Pass([]string{"drv1"}, 0))
	require.False(t, w.passes(leased))
}

// Each renewal takes the element's place in one step: a packet that comes at that moment passes.
func TestMuteDropsNothingAtARenewal(t *testing.T) {
	w := newWire(t)
	leased := w.sender("drv1", 1)
	require.NoError(t, w.mute.Add("web", "drv1"))
	require.NoError(t, w.mute.Pass([]string{"drv1"}, time.Hour))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
				if err := w.mute.Pass([]string{"drv1"}, time.Hour); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for i := range 500 {
		require.True(t, w.passes(leased), "packet %d", i)
	}
	close(stop)
	require.NoError(t, <-done)
}

func TestMuteEndsWithItsPodAndTouchesNothingElse(t *testing.T) {
	w := newWire(t)
	conn := w.sender("drv1", 1)
	foreign, err := nftables.New(nftables.WithNetNSFd(int(w.host)))
	require.NoError(t, err)
	foreign.AddTable(&nftables.Table{Name: "mine", Family: nftables.TableFamilyNetdev})
	require.NoError(t, foreign.Flush())

	require.NoError(t, w.mute.Try())
	before, err := foreign.ListTables()
	require.NoError(t, err)
	require.Len(t, before, 1, "a try leaves nothing")
	require.NoError(t, w.mute.Remove("web"), "there is nothing yet")
	require.NoError(t, w.mute.Add("web", "drv1"))
	require.NoError(t, w.mute.Remove("web"))
	require.NoError(t, w.mute.Remove("web"))
	require.True(t, w.passes(conn))

	// The device is made anew, as after a failed start, and is muted again.
	require.NoError(t, w.mute.Add("web", "drv1"))
	w.within(w.host, func() {
		link, err := netlink.LinkByName("drv1")
		require.NoError(t, err)
		require.NoError(t, netlink.LinkDel(link))
	})
	require.NoError(t, w.mute.Pass([]string{"drv1"}, time.Hour))
	conn = w.sender("drv1", 1)
	require.NoError(t, w.mute.Add("web", "drv1"))
	require.True(t, w.passes(conn))
	require.NoError(t, w.mute.Pass(nil, time.Hour))
	require.False(t, w.passes(conn))

	require.NoError(t, w.mute.Sweep())
	require.NoError(t, w.mute.Sweep())
	require.True(t, w.passes(conn))
	tables, err := foreign.ListTables()
	require.NoError(t, err)
	require.Len(t, tables, 1)
	require.Equal(t, "mine", tables[0].Name)
}

// A fence that is stopped can't freeze: the kernel mutes the pod all the same.
func TestMuteNeedsNoFence(t *testing.T) {
	p := newPod(t, hierarchies(t)[anyVersion(t)])
	f, w := startFence(t, t.TempDir()), newWire(t)
	conn := w.sender("drv1", 1)
	end := in(500 * time.Millisecond)
	_, err := f.Lease(t.Context(), end)
	require.NoError(t, err)
	s, err := f.Hold(t.Context(), p.uid, p.dir)
	require.NoError(t, err)
	require.NoError(t, w.mute.Add(p.uid, "drv1"))
	require.NoError(t, w.mute.Pass([]string{"drv1"}, end.Left(Now())))
	require.NoError(t, unix.Kill(s.Pid, unix.SIGSTOP))
	defer unix.Kill(s.Pid, unix.SIGCONT)
	require.True(t, w.passes(conn))

	require.Eventually(t, func() bool { return !w.passes(conn) }, bound+500*time.Millisecond, time.Millisecond)
	require.LessOrEqual(t, end.Left(Now()), 20*time.Millisecond)
	require.False(t, p.frozen(), "its fence is stopped")
	require.NoError(t, unix.Kill(s.Pid, unix.SIGCONT))
	require.Less(t, p.frozenBy(Now()), bound)
}
