//go:build root

package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv("DROVER_DOCTOR_AS_USER") != "" {
		report := Examine(context.Background(), Real{}, Config{StateDir: "/var/lib/drover", RunDir: "/run/drover"})
		if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getuid() != 0 {
		os.Stderr.WriteString("agent/doctor: needs root: run make test\n")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// This host runs the tests of moves, so it must be ready, and every probe must have an answer.
func TestRealHostIsReady(t *testing.T) {
	report := Examine(t.Context(), Real{}, Config{StateDir: filepath.Join(t.TempDir(), "not", "yet"), RunDir: "/run/drover"})
	for _, f := range report.Findings {
		t.Logf("%-32s %-5s %s", f.Check, f.Level, f.Found)
		require.NotEqual(t, Fail, f.Level, "%+v", f)
	}
	require.True(t, report.Ready)
}

func TestExamineLeavesNothingBehind(t *testing.T) {
	state := t.TempDir()
	examine := func() { Examine(t.Context(), Real{}, Config{StateDir: state, RunDir: state}) }
	examine() // what the runtime keeps from a first run isn't ours
	// The threads that tried things in namespaces end a moment after they have answered.
	var before string
	require.Eventually(t, func() bool {
		before = traces(t, state)
		return !strings.Contains(before, "[")
	}, 5*time.Second, 10*time.Millisecond)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(examine)
	}
	wg.Wait()
	require.Eventually(t, func() bool { return traces(t, state) == before }, 5*time.Second, 10*time.Millisecond,
		"before: %s\nafter: %s", before, traces(t, state))
}

// traces is what a probe could leave: mounts, links, rules, groups, files, descriptors, foreign namespaces.
func traces(t *testing.T, state string) string {
	t.Helper()
	var all []string
	for _, file := range []string{"/proc/self/mountinfo", "/proc/self/net/dev"} {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, "drover-doctor") || strings.Contains(line, "probe") {
				all = append(all, line)
			}
		}
	}
	require.NoError(t, filepath.WalkDir(cgroupRoot, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(path, "drover-doctor") {
			all = append(all, path)
		}
		return nil
	}))
	entries, err := os.ReadDir(state)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	// Threads in namespaces that aren't the process's.
	tasks, err := filepath.Glob("/proc/self/task/*/ns/*")
	require.NoError(t, err)
	for _, task := range tasks {
		own, _ := os.Readlink(filepath.Join("/proc/self/ns", filepath.Base(task)))
		if link, err := os.Readlink(task); err == nil && link != own && filepath.Base(task) != "pid_for_children" {
			all = append(all, link)
		}
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	all = append(all, fmt.Sprint(len(descriptors), " descriptors"))
	return strings.Join(all, "\n")
}

// A probe that says "works" of everything would be no probe: where the kernel refuses, it says so.
func TestProbesReportRefusal(t *testing.T) {
	require.ErrorContains(t, Real{}.Try("time travel", Config{}), "no probe")

	// An overlay can't have its upper layer on a file system like proc; there not even the directory can be made.
	require.Error(t, Real{}.Try(Overlay, Config{StateDir: "/proc/self"}))

	// The same program as a user without rights: what needs them is reported, each on its own.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "DROVER_DOCTOR_AS_USER=1")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var report Report
	require.NoError(t, json.Unmarshal(out, &report), "%s", out)
	require.False(t, report.Ready)
	for _, f := range report.Findings {
		switch f.Check {
		case "privileges", "cgroups", "veth", "vxlan", "overlayfs", "policy routing":
			require.Equal(t, Fail, f.Level, "%+v", f)
			require.NotEmpty(t, f.Found, "%+v", f)
		}
	}
}

func TestRunBoundsPrograms(t *testing.T) {
	_, err := Real{}.Run(t.Context(), "drover-no-such-program")
	require.ErrorIs(t, err, exec.ErrNotFound)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = Real{}.Run(ctx, "sleep", "60")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 5*time.Second)

	// A program whose child keeps the output open doesn't hold the doctor up either.
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Real{}.Run(ctx, "sh", "-c", "sleep 3 & wait")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 10*time.Second)
}

func TestStorageOfWhatIsNotThereYet(t *testing.T) {
	dir := t.TempDir()
	there, err := Real{}.Storage(dir)
	require.NoError(t, err)
	later, err := Real{}.Storage(filepath.Join(dir, "a", "b"))
	require.NoError(t, err)
	require.Equal(t, there.Type, later.Type)
	require.NotZero(t, later.Free)

	proc, err := Real{}.Storage("/proc")
	require.NoError(t, err)
	require.Equal(t, "file system 0x9fa0", proc.Type, "PROC_SUPER_MAGIC has no name here, so its number is shown")
}

func TestDeviceOfAnAddress(t *testing.T) {
	device, err := Real{}.Device(netip.MustParseAddr("127.0.0.1"))
	require.NoError(t, err)
	require.Equal(t, Device{Name: "lo", MTU: device.MTU}, device)
	require.Greater(t, device.MTU, 1280)
	_, err = Real{}.Device(netip.MustParseAddr("192.0.2.77"))
	require.ErrorContains(t, err, "no device of this host has the address 192.0.2.77")
}
