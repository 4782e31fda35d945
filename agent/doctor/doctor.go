// Package doctor examines a host: whether pods can run on it and move to it, and if not, what is missing, why that matters
// and the command that mends it. It changes nothing and leaves nothing behind.
package doctor

import (
	"context"
	"net/netip"
	"time"
)

// Level says what a finding means for a move to this host.
type Level string

// The levels, from harmless to hopeless.
const (
	OK   Level = "ok"
	Warn Level = "warn" // a pod can move here, but something will be slower or not work
	Fail Level = "fail" // no pod can move here
)

// Finding is the outcome of one check.
type Finding struct {
	Check string `json:"check"`          // what was looked at, e.g. "criu"
	Level Level  `json:"level"`          // what it means for a move
	Found string `json:"found"`          // what is there, e.g. "4.2.1, criu check passes"
	Why   string `json:"why"`            // what drover needs it for
	Cure  string `json:"cure,omitempty"` // the command that mends it; empty when the level is OK or nothing can
}

// Report is what Examine found, in a fixed order.
type Report struct {
	Ready    bool      `json:"ready"` // whether a pod can move here: no finding fails
	Findings []Finding `json:"findings"`
}

// Count returns how many findings have the level.
func (r Report) Count(level Level) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

// Config says what the agent would use. The directories need not exist.
type Config struct {
	File      string     // the agent's configuration; "" if there is none yet
	Wrong     error      // why that can't be used; nil if it can
	StateDir  string     // container root file systems and images, e.g. /var/lib/drover
	RunDir    string     // CRIU images of a running move, e.g. /run/drover
	Address   netip.Addr // of this host, from which the pods' packets go to other nodes; invalid if it isn't known
	Systemd   bool       // systemd is to make the control groups of pods
	Installer string     // command that installs the programs that are missing or too old, e.g. make deps
}

// Host is what the checks ask of a machine. Real answers for this machine.
type Host interface {
	// Read returns the trimmed content of a small file under /proc, /sys or /dev.
	Read(path string) (string, error)
	// Run runs a program and returns its output, standard error included. The error wraps exec.ErrNotFound if there is none.
	Run(ctx context.Context, program string, args ...string) (string, error)
	// Storage describes the file system that holds path, or would hold it once it is made.
	Storage(path string) (Storage, error)
	// Try uses a feature for a moment, in namespaces of its own, and says why it doesn't work.
	Try(feature Feature, cfg Config) error
	// Cgroups describes the control groups that a pod would be put into.
	Cgroups() (Cgroups, error)
	// Device finds the network device that has the address, or if that is invalid the one of the default route.
	Device(address netip.Addr) (Device, error)
	// ClockError is the kernel's bound on the wall clock's error, and whether anything synchronises it.
	ClockError() (bound time.Duration, synced bool, err error)
}

// Storage describes a file system.
type Storage struct {
	Type string // "tmpfs", "overlay", "ext4" ...; a number if the name isn't known
	Free uint64 // bytes that root may still write
}

// Cgroups describes the control groups of a host.
type Cgroups struct {
	Version     int      // 1, also for a hybrid whose controllers are those of version 1, or 2
	Controllers []string // usable ones, "freezer" among them if a group could be made and frozen
	Refusal     error    // why no group could be made and frozen; nil if it could
	Withheld    []string // those of Controllers that groups can't get as things stand
}

// Device describes a network device.
type Device struct {
	Name string
	MTU  int // bytes
}

// Examine runs every check. The context bounds the programs that it runs.
func Examine(ctx context.Context, host Host, cfg Config) Report {
	checks := []func(context.Context, Host, Config) []Finding{
		checkPrivileges, checkConfiguration, checkCRIU, checkRuntime, checkSystemd, checkCgroups, checkKernel,
		checkSysctls, checkStorage, checkSwap, checkNetwork, checkClock,
	}
	report := Report{}
	for _, check := range checks {
		report.Findings = append(report.Findings, check(ctx, host, cfg)...)
	}
	report.Ready = report.Count(Fail) == 0
	return report
}

// judge makes a finding of a probe's error: OK with found if there is none, else otherwise with the error and the cure.
func judge(check, why, found string, err error, otherwise Level, cure string) Finding {
	if err != nil {
		return Finding{Check: check, Level: otherwise, Found: err.Error(), Why: why, Cure: cure}
	}
	return Finding{Check: check, Level: OK, Found: found, Why: why}
}
