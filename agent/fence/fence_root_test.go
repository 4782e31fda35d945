//go:build root

package fence

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// bound is within what a pod must stand still after the lease.
const bound = time.Second

// TestMain is also the program that the tests start: a fence, or an agent that starts one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "fence":
			exit(Run(Options{Dir: os.Args[3], Version: "test"}))
		case "agent":
			exit(standIn(os.Args[2], os.Args[3]))
		}
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// frozenBy waits until the pod stands still and returns how long after that moment.
func (p *pod) frozenBy(end Instant) time.Duration {
	for deadline := end.Boot + 10*bound; ; {
		frozen, now := p.frozen(), Now()
		if frozen {
			return now.Boot - end.Boot
		}
		require.Less(p.t, now.Boot, deadline, "it is never frozen")
		nap()
	}
}

// nap leaves the processor for a moment: of a freezer the kernel tells nobody.
func nap() {
	t := unix.NsecToTimespec(int64(100 * time.Microsecond))
	_ = unix.Nanosleep(&t, nil)
}

func in(d time.Duration) Instant {
	now := Now()
	return Instant{Boot: now.Boot + d, Wall: now.Wall + int64(d)}
}

// startFence starts one that is gone when the test is.
func startFence(t *testing.T, dir string) *Fence {
	f, err := Start(t.Context(), dir, os.Args[0], "fence")
	require.NoError(t, err)
	t.Cleanup(func() { endAll(t, dir) })
	return f
}

func endAll(t *testing.T, dir string) {
	all, err := Find(dir)
	require.NoError(t, err)
	for _, f := range all {
		require.NoError(t, f.End(context.Background(), true))
		<-f.Gone()
	}
}

func TestFenceFreezesWhenTheLeaseEnds(t *testing.T) {
	eachVersion(t, func(t *testing.T, hierarchy string) {
		p := newPod(t, hierarchy) // before the fence, which so ends before the pod
		f := startFence(t, t.TempDir())
		end := in(300 * time.Millisecond)
		_, err := f.Lease(t.Context(), end)
		require.NoError(t, err)
		s, err := f.Hold(t.Context(), p.uid, p.dir)
		require.NoError(t, err)
		require.Equal(t, []Held{{UID: p.uid}}, s.Pods)
		require.True(t, s.Valid)
		if mayRaise(t) {
			require.Empty(t, s.Weak)
		} else {
			require.Equal(t, "the kernel may end it when memory is short: write /proc/self/oom_score_adj: permission denied", s.Weak)
		}
		smallBefore, diskBefore := faultsOf(t, s.Pid)

		late := p.frozenBy(end)
		require.GreaterOrEqual(t, late, time.Duration(0), "before the lease ended")
		require.Less(t, late, bound)
		small, disk := faultsOf(t, s.Pid)
		require.Equal(t, diskBefore, disk, "it waited for the disk")
		require.Less(t, small, smallBefore+16, "it needed pages that it didn't have")
		s, err = f.Status(t.Context())
		require.NoError(t, err)
		require.True(t, s.Pods[0].Still)
		require.False(t, s.Valid)
		t.Logf("stood still %v after the end of the lease, by the fence's own account %v", late, s.Pods[0].After)
	})
}

// mayRaise says whether root may protect a process from the kernel's out-of-memory killer here; in a container it may not.
func mayRaise(t *testing.T) bool {
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "CapEff:")
	var have uint64
	_, err = fmt.Sscanf(strings.TrimSpace(rest), "%x", &have)
	require.NoError(t, err)
	return have&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// faultsOf is how often a process needed a page that it had not touched before, from memory and from a disk (proc_pid_stat(5),
// fields 10 and 12).
func faultsOf(t *testing.T, pid int) (small, disk int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	small, err = strconv.Atoi(fields[7])
	require.NoError(t, err)
	disk, err = strconv.Atoi(fields[9])
	require.NoError(t, err)
	return small, disk
}

func TestFenceGoesByTheWallClockToo(t *testing.T) {
	eachVersion(t, func(t *testing.T, hierarchy string) {
		p := newPod(t, hierarchy)
		f := startFence(t, t.TempDir())
		end := in(200 * time.Millisecond)
		_, err := f.Lease(t.Context(), Instant{Boot: end.Boot + time.Hour, Wall: end.Wall})
		require.NoError(t, err)
		_, err = f.Hold(t.Context(), p.uid, p.dir)
		require.NoError(t, err)
		require.Less(t, p.frozenBy(end), bound)
	})
}

func TestFenceFreezesAtOnceWithoutALeaseAndThawsOnlyWithOne(t *testing.T) {
	eachVersion(t, func(t *testing.T, hierarchy string) {
		p := newPod(t, hierarchy)
		f := startFence(t, t.TempDir())
		asked := Now()
		_, err := f.Hold(t.Context(), p.uid, p.dir)
		require.NoError(t, err)
		require.Less(t, p.frozenBy(asked), bound)
		_, err = f.Thaw(t.Context(), p.uid)
		require.ErrorContains(t, err, "lease has ended")

		p.thaw() // somebody else
		require.Eventually(t, func() bool {
			s, err := f.Status(t.Context())
			require.NoError(t, err)
			return s.Pods[0].Undone == 1 && p.frozen()
		}, bound, 10*time.Millisecond)

		s, err := f.Lease(t.Context(), in(time.Hour))
		require.NoError(t, err)
		require.True(t, s.Pods[0].Frozen, "a lease is no order to thaw")
		require.True(t, p.frozen())
		s, err = f.Thaw(t.Context(), p.uid)
		require.NoError(t, err)
		require.False(t, s.Pods[0].Frozen)
		require.Eventually(t, func() bool { return !p.frozen() }, bound, time.Millisecond)
	})
}

// standIn is an agent that puts a pod under a fence, says so, and waits for its death.
func standIn(dir, cgroup string) error {
	ctx := context.Background()
	f, err := Start(ctx, dir, os.Args[0], "fence")
	if err != nil {
		return err
	}
	end := in(time.Second)
	if _, err := f.Lease(ctx, end); err != nil {
		return err
	}
	if _, err := f.Hold(ctx, "orphan", cgroup); err != nil {
		return err
	}
	fmt.Println(int64(end.Boot))
	<-f.Gone()
	return nil
}

func TestFenceOutlivesItsAgent(t *testing.T) {
	eachVersion(t, func(t *testing.T, hierarchy string) {
		dir, p := t.TempDir(), newPod(t, hierarchy)
		agent := exec.Command(os.Args[0], "agent", dir, p.dir)
		out, err := agent.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, agent.Start())
		t.Cleanup(func() { endAll(t, dir) })
		var end int64
		_, err = fmt.Fscan(out, &end)
		require.NoError(t, err)
		require.NoError(t, agent.Process.Kill())
		require.Error(t, agent.Wait())
		require.False(t, p.frozen())

		late := p.frozenBy(Instant{Boot: time.Duration(end)})
		require.GreaterOrEqual(t, late, time.Duration(0))
		require.Less(t, late, bound)

		found, err := Find(dir)
		require.NoError(t, err)
		require.Len(t, found, 1)
		s, err := found[0].Lease(t.Context(), in(time.Hour))
		require.NoError(t, err)
		require.Equal(t, "orphan", s.Pods[0].UID)
		_, err = found[0].Thaw(t.Context(), "orphan")
		require.NoError(t, err)
		require.NoError(t, found[0].Close())
	})
}

func TestFenceEndsOnlyWhenItIsToldTo(t *testing.T) {
	dir := t.TempDir()
	p := newPod(t, hierarchies(t)[anyVersion(t)])
	f := startFence(t, dir)
	s, err := f.Hold(t.Context(), p.uid, p.dir)
	require.NoError(t, err)
	require.NoError(t, unix.Kill(s.Pid, unix.SIGTERM))
	require.ErrorContains(t, f.End(t.Context(), false), "1 pods are under it")

	next := startFence(t, dir) // takes over
	_, err = next.Hold(t.Context(), p.uid, p.dir)
	require.NoError(t, err)
	require.NoError(t, f.End(t.Context(), true))
	<-f.Gone()
	require.True(t, p.frozen(), "no gap")

	s, err = next.Status(t.Context())
	require.NoError(t, err)
	require.NoError(t, unix.Kill(s.Pid, unix.SIGSTOP), "one that doesn't answer is killed too")
	require.NoError(t, next.Kill())
	<-next.Gone()
	_, err = next.Status(t.Context())
	require.Error(t, err)
	require.Eventually(t, func() bool { // its end takes a moment
		found, err := Find(dir)
		require.NoError(t, err)
		for _, f := range found {
			require.NoError(t, f.Close())
		}
		return len(found) == 0
	}, 5*time.Second, 10*time.Millisecond)
	sockets, err := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	require.NoError(t, err)
	require.Empty(t, sockets)
}

func anyVersion(t *testing.T) string {
	for version := range hierarchies(t) {
		return version
	}
	return ""
}

func TestFenceRefusesWhatItCantHoldAndLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fence")
	f := startFence(t, dir)
	_, err := f.Hold(t.Context(), "web", "/nowhere")
	require.ErrorContains(t, err, "opening the freezer of /nowhere")
	_, err = f.Hold(t.Context(), "web")
	require.Error(t, err)
	s, err := f.Status(t.Context())
	require.NoError(t, err)
	require.Empty(t, s.Pods)
	require.NoError(t, f.End(t.Context(), false))
	require.Eventually(t, func() bool { return !exists(dir) }, 5*time.Second, time.Millisecond)
}
