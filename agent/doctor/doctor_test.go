package doctor

import (
	"context"
	"errors"
	"os/exec"
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

var config = Config{StateDir: "/var/lib/drover", RunDir: "/run/drover", Installer: "install it"}

// perfect is a host on which there is nothing to find.
func perfect() *paperHost {
	return &paperHost{
		files: map[string]string{
			"/proc/self/status":                              "Name:\tdrover\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff",
			"/proc/sys/fs/pipe-max-size":                     "4194304",
			"/proc/sys/net/ipv4/ip_forward":                  "1",
			"/proc/sys/net/ipv4/conf/all/rp_filter":          "2",
			"/proc/sys/net/ipv4/conf/all/send_redirects":     "0",
			"/proc/sys/net/ipv4/conf/default/send_redirects": "0",
		},
		programs: map[string]program{
			"criu --version":   {"Version: 4.2.1\n", nil},
			"criu check":       {"Looks good.\n", nil},
			"runc --version":   {"runc version 1.1.5+ds1\ncommit: 1.1.5\n", nil},
			"conmon --version": {"conmon version 2.1.6\n", nil},
		},
		storage: map[string]Storage{
			"/var/lib/drover": {"ext4", 100 * gibibyte}, "/run/drover": {"tmpfs", 4 * gibibyte}, "/run": {"tmpfs", 4 * gibibyte},
		},
		lacks:   map[Feature]error{},
		cgroups: Cgroups{Version: 2, Controllers: []string{"cpu", "freezer", "memory"}},
		synced:  true,
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
	h := perfect()
	for _, tc := range []struct {
		name  string
		flaw  func()
		check string
		level Level
		found string
	}{
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
		{"broken conmon", h.run("conmon --version", "", errors.New("exec format error")), "conmon", Fail, "exec format error"},
		{"no freezer", h.group(1, "cpu", "memory"), "cgroups", Fail, "no freezer"},
		{"no memory controller", h.group(2, "cpu", "freezer"), "cgroups", Warn, "limits"},
		{"cgroups read-only", func() { h.cgroups.Refusal = errors.New("read-only file system") }, "cgroups", Fail, "read-only"},
		{"no cgroups", func() { h.cgroupsE = errors.New("not mounted") }, "cgroups", Fail, "not mounted"},
		{"no vxlan", h.without(VXLAN, errors.New("this kernel lacks it")), "vxlan", Fail, "lacks"},
		{"no pagemap scan", h.without(PagemapScan, errors.New("this kernel lacks it")), "pagemap scan", Warn, "lacks"},
		{"not forwarding", h.set("/proc/sys/net/ipv4/ip_forward", "0"), "net.ipv4.ip_forward", Warn, "0"},
		{"strict filter", h.set("/proc/sys/net/ipv4/conf/all/rp_filter", "1"), "net.ipv4.conf.all.rp_filter", Fail, "1"},
		{"redirects", h.set("/proc/sys/net/ipv4/conf/all/send_redirects", "1"), "net.ipv4.conf.all.send_redirects", Warn, "1"},
		{"small pipes", h.set("/proc/sys/fs/pipe-max-size", "1048576"), "fs.pipe-max-size", Warn, "1048576"},
		{"garbled sysctl", h.set("/proc/sys/fs/pipe-max-size", "many"), "fs.pipe-max-size", Warn, "many"},
		{"little space", h.store("/var/lib/drover", "ext4", gibibyte), "state directory", Warn, "1024 MiB"},
		{"no space", h.store("/var/lib/drover", "ext4", mebibyte), "state directory", Fail, "1 MiB"},
		{"no run space", h.store("/run/drover", "tmpfs", 0), "run directory", Fail, "0 MiB"},
		{"run on disk", h.store("/run", "ext4", gibibyte), "/run", Warn, "not tmpfs"},
		{"state unreadable", func() { delete(h.storage, "/var/lib/drover") }, "state directory", Fail, "input/output"},
		{"clock", func() { h.synced = false }, "clock", Warn, "synchronises"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			*h = *perfect()
			tc.flaw()
			report := Examine(t.Context(), h, config)
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

func TestBareHostIsFoundOutWithoutPanic(t *testing.T) {
	bare := &paperHost{cgroupsE: errors.New("none")}
	report := Examine(t.Context(), bare, Config{})
	require.False(t, report.Ready)
	require.GreaterOrEqual(t, report.Count(Fail), 6)
}
