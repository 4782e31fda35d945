package doctor

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// paperHost answers from tables, so that a test can say what a host lacks.
type paperHost struct {
	files    map[string]string
	programs map[string]program // by the command line
	storage  map[string]Storage
	lacks    map[Feature]error
	cgroups  Cgroups
	cgroupsE error
	synced   bool
	device   Device
	deviceE  error
}

type program struct {
	out string
	err error
}

func (h *paperHost) Read(path string) (string, error) {
	if content, ok := h.files[path]; ok {
		return content, nil
	}
	return "", errors.New(path + ": no such file")
}

func (h *paperHost) Run(_ context.Context, name string, args ...string) (string, error) {
	if p, ok := h.programs[name+" "+strings.Join(args, " ")]; ok {
		return p.out, p.err
	}
	return "", exec.ErrNotFound
}

func (h *paperHost) Storage(path string) (Storage, error) {
	if s, ok := h.storage[path]; ok {
		return s, nil
	}
	return Storage{}, errors.New(path + ": input/output error")
}

func (h *paperHost) Device(netip.Addr) (Device, error)   { return h.device, h.deviceE }
func (h *paperHost) Try(feature Feature, _ Config) error { return h.lacks[feature] }
func (h *paperHost) Cgroups() (Cgroups, error)           { return h.cgroups, h.cgroupsE }
func (h *paperHost) ClockError() (time.Duration, bool, error) {
	return 3 * time.Millisecond, h.synced, nil
}
func (h *paperHost) set(path, value string) func() { return func() { h.files[path] = value } }
func (h *paperHost) run(line, out string, err error) func() {
	return func() { h.programs[line] = program{out, err} }
}
func (h *paperHost) lose(line string) func() { return func() { delete(h.programs, line) } }
func (h *paperHost) store(path, kind string, free uint64) func() {
	return func() { h.storage[path] = Storage{kind, free} }
}
func (h *paperHost) without(feature Feature, err error) func() {
	return func() { h.lacks[feature] = err }
}
func (h *paperHost) group(version int, controllers ...string) func() {
	return func() { h.cgroups = Cgroups{Version: version, Controllers: controllers} }
}

var config = Config{File: "/etc/drover/agent.yaml", StateDir: "/var/lib/drover", RunDir: "/run/drover", Installer: "install it"}

const runcVersion = "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n"

// perfect is a host on which there is nothing to find.
func perfect() *paperHost {
	return &paperHost{
		files: map[string]string{
			"/proc/1/comm":                                   "systemd",
			"/proc/meminfo":                                  "MemTotal: 16000000 kB\nSwapTotal: 2000000 kB\nSwapFree: 1990000 kB",
			"/proc/self/status":                              "Name:\tdrover\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff",
			"/proc/sys/fs/pipe-max-size":                     "4194304",
			"/proc/sys/net/ipv4/ip_forward":                  "1",
			"/proc/sys/net/ipv4/conf/all/rp_filter":          "2",
			"/proc/sys/net/ipv4/conf/all/send_redirects":     "0",
			"/proc/sys/net/ipv4/conf/default/send_redirects": "0",
		},
		programs: map[string]program{
			"criu --version":      {"Version: 4.2.1\n", nil},
			"criu check":          {"Looks good.\n", nil},
			"runc --version":      {runcVersion, nil},
			"conmon --version":    {"conmon version 2.1.6\n", nil},
			"nsenter --version":   {"nsenter from util-linux 2.38.1\n", nil},
			"systemctl --version": {"systemd 252 (252.39-1~deb12u1)\n+PAM +AUDIT\n", nil},
		},
		storage: map[string]Storage{
			"/var/lib/drover": {"ext4", 100 * gibibyte}, "/run/drover": {"tmpfs", 4 * gibibyte}, "/run": {"tmpfs", 4 * gibibyte},
		},
		lacks:   map[Feature]error{},
		cgroups: Cgroups{Version: 2, Controllers: []string{"cpu", "freezer", "memory"}},
		synced:  true,
		device:  Device{Name: "eth0", MTU: 1500},
	}
}

func TestPerfectHostIsReady(t *testing.T) {
	report := Examine(t.Context(), perfect(), config)
	require.True(t, report.Ready)
	for _, f := range report.Findings {
		require.Equal(t, OK, f.Level, "%+v", f)
		require.NotEmpty(t, f.Found, "%+v", f)
		require.NotEmpty(t, f.Why, "%+v", f)
		require.Empty(t, f.Cure, "%+v", f)
	}
}

// Each flaw alone is found, and only it; whether a pod can still move here follows from its level.
func TestEachFlawIsFound(t *testing.T) {
	h, wish := perfect(), config
	for _, tc := range []struct {
		name  string
		flaw  func()
		check string
		level Level
		found string
	}{
		{"no configuration", func() { wish.File = "" }, "configuration", OK, "none yet"},
		{"wrong configuration", func() { wish.Wrong = errors.New("field \"node\" is missing\n  valid: a name") }, "configuration", Fail, "field \"node\" is missing"},
		{"no root", h.set("/proc/self/status", "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0"), "privileges", Fail, "user 1000"},
		{"no capability", h.set("/proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffdfffff"), "privileges", Fail, "CAP_SYS_ADMIN"},
		{"no resource capability", h.set("/proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001fffeffffff"), "privileges", Warn, "CAP_SYS_RESOURCE"},
		{"garbled capabilities", h.set("/proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\tzz"), "privileges", Fail, "capabilities"},
		{"no criu", h.lose("criu --version"), "criu", Fail, "not installed"},
		{"old criu", h.run("criu --version", "Version: 3.17.1\n", nil), "criu", Fail, "3.17.1, older than 4.1"},
		{"somewhat old criu", h.run("criu --version", "Version: 4.0\n", nil), "criu", Fail, "older than 4.1"},
		{"criu of next year", h.run("criu --version", "Version: 5.0\n", nil), "criu", OK, "5.0"},
		{"broken criu", h.run("criu --version", "error while loading shared libraries: libnet.so.1", errors.New("exit status 127")), "criu", Fail, "libnet.so.1"},
		{"criu check", h.run("criu check", "Warn  (x)\nError (criu/cr-check.c:1): no timens\n", errors.New("exit status 1")), "criu", Fail, "no timens"},
		{"silent criu check", h.run("criu check", "", errors.New("criu gave no answer")), "criu", Fail, "no answer"},
		{"no runc", h.lose("runc --version"), "runc", Fail, "not installed"},
		{"old runc", h.run("runc --version", "runc version 1.0.3\nlibseccomp: 2.5.4\n", nil), "runc", Warn, "1.0.3, older than 1.1"},
		{"runc without seccomp", h.run("runc --version", "runc version 1.3.0\nspec: 1.2.1\n", nil), "seccomp", Fail, "without it"},
		{"old conmon", h.run("conmon --version", "conmon version 2.0.25\n", nil), "conmon", Warn, "2.0.25, older than 2.1"},
		{"no nsenter", h.lose("nsenter --version"), "nsenter", Warn, "not installed"},
		{"systemd not in charge", h.set("/proc/1/comm", "bash"), "systemd", OK, "not running"},
		{"no systemd", h.lose("systemctl --version"), "systemd", OK, "not running"},
		{"broken conmon", h.run("conmon --version", "", errors.New("exec format error")), "conmon", Fail, "exec format error"},
		{"no freezer", h.group(1, "cpu", "memory"), "cgroups", Fail, "no freezer"},
		{"no memory controller", h.group(2, "cpu", "freezer"), "cgroups", Warn, "limits"},
		{"controllers withheld", func() { h.cgroups.Withheld = []string{"cpu", "memory"} }, "cgroups", Warn, "get no cpu memory while processes are in the root"},
		{"cgroups read-only", func() { h.cgroups.Refusal = errors.New("read-only file system") }, "cgroups", Fail, "read-only"},
		{"no cgroups", func() { h.cgroupsE = errors.New("not mounted") }, "cgroups", Fail, "not mounted"},
		{"no time namespaces", h.without(TimeNamespace, errors.New("this kernel lacks it")), "time namespaces", Fail, "lacks"},
		{"no vxlan", h.without(VXLAN, errors.New("this kernel lacks it")), "vxlan", Fail, "lacks"},
		{"no pagemap scan", h.without(PagemapScan, errors.New("this kernel lacks it")), "pagemap scan", Warn, "lacks"},
		{"not forwarding", h.set("/proc/sys/net/ipv4/ip_forward", "0"), "net.ipv4.ip_forward", Warn, "0"},
		{"strict filter", h.set("/proc/sys/net/ipv4/conf/all/rp_filter", "1"), "net.ipv4.conf.all.rp_filter", Fail, "1"},
		{"redirects", h.set("/proc/sys/net/ipv4/conf/all/send_redirects", "1"), "net.ipv4.conf.all.send_redirects", Warn, "1"},
		{"small pipes", h.set("/proc/sys/fs/pipe-max-size", "1048576"), "fs.pipe-max-size", Warn, "1048576"},
		{"garbled sysctl", h.set("/proc/sys/fs/pipe-max-size", "many"), "fs.pipe-max-size", Warn, "many"},
		{"little space", h.store("/var/lib/drover", "ext4", gibibyte), "state directory", Warn, "1024 MiB"},
		{"overlay on overlay", h.store("/var/lib/drover", "overlay", 100*gibibyte), "state directory", Fail, "can't hold the writable layers"},
		{"state on nfs", h.store("/var/lib/drover", "nfs", 100*gibibyte), "state directory", Fail, "can't hold"},
		{"state in memory", h.store("/var/lib/drover", "tmpfs", 100*gibibyte), "state directory", Warn, "a reboot empties"},
		{"swapping", h.set("/proc/meminfo", "SwapTotal: 2000000 kB\nSwapFree: 1000000 kB"), "swap", Warn, "976 MiB in use"},
		{"more free than there is", h.set("/proc/meminfo", "SwapTotal: 0 kB\nSwapFree: 7 kB"), "swap", OK, "none"},
		{"narrow network", func() { h.device.MTU = 1300 }, "mtu", Warn, "1300 on eth0, 1250 for pods"},
		{"jumbo frames", func() { h.device.MTU = 9000 }, "mtu", OK, "8950 for pods"},
		{"no device", func() { h.deviceE = errors.New("no device of this host has the address 192.0.2.1") }, "mtu", Warn, "no device"},
		{"no space", h.store("/var/lib/drover", "ext4", mebibyte), "state directory", Fail, "1 MiB"},
		{"no run space", h.store("/run/drover", "tmpfs", 0), "run directory", Fail, "0 MiB"},
		{"run on disk", h.store("/run", "ext4", gibibyte), "/run", Warn, "not tmpfs"},
		{"state unreadable", func() { delete(h.storage, "/var/lib/drover") }, "state directory", Fail, "input/output"},
		{"clock", func() { h.synced = false }, "clock", Warn, "synchronises"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			*h, wish = *perfect(), config
			tc.flaw()
			report := Examine(t.Context(), h, wish)
			require.Equal(t, tc.level != Fail, report.Ready)
			seen := false
			for _, f := range report.Findings {
				if f.Check != tc.check {
					require.Equal(t, OK, f.Level, "%+v", f)
					continue
				}
				seen = true
				require.Equal(t, tc.level, f.Level, "%+v", f)
				require.Contains(t, f.Found, tc.found)
				require.Equal(t, tc.level == OK || strings.Contains(tc.name, "garbled cap"), f.Cure == "", "a cure just for what ails: %+v", f)
			}
			require.True(t, seen, "no finding named %s", tc.check)
		})
	}
}

func TestSystemdIsNeededWhereItMakesControlGroups(t *testing.T) {
	h := perfect()
	wish := config
	wish.Systemd = true
	require.True(t, Examine(t.Context(), h, wish).Ready)
	delete(h.files, "/proc/1/comm")
	report := Examine(t.Context(), h, wish)
	require.False(t, report.Ready)
	i := slices.IndexFunc(report.Findings, func(f Finding) bool { return f.Check == "systemd" })
	require.Contains(t, report.Findings[i].Cure, "cgroupfs")
}

// Controllers are withheld only below a root that is not the root of all, and in which processes are.
func TestWithheldControllers(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	all := []string{"cpu", "io", "memory"}
	write("cgroup.procs", "1\n42\n")
	write("cgroup.subtree_control", "")
	require.Empty(t, withheld(dir, all), "the root of all has no type")
	write("cgroup.type", "domain\n")
	require.Equal(t, all, withheld(dir, all))
	write("cgroup.subtree_control", "memory io\n")
	require.Equal(t, []string{"cpu"}, withheld(dir, all))
	write("cgroup.procs", "")
	require.Empty(t, withheld(dir, all))
}

func TestBareHostIsFoundOutWithoutPanic(t *testing.T) {
	bare := &paperHost{cgroupsE: errors.New("none")}
	report := Examine(t.Context(), bare, Config{})
	require.False(t, report.Ready)
	require.GreaterOrEqual(t, report.Count(Fail), 6)
}
