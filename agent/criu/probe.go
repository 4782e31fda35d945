package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MinVersion is the oldest CRIU that is relied on.
func MinVersion() Version { return Version{4, 1, 0} }

// Version of CRIU: major, minor, patch.
type Version [3]int

// ParseVersion reads what `criu --version` prints.
func ParseVersion(text string) (Version, error) {
	var v Version
	match := regexp.MustCompile(`(?m)^Version: (\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?`).FindStringSubmatch(text)
	if match == nil {
		return v, fmt.Errorf("no version in %q", text)
	}
	for i, part := range match[1:] {
		v[i], _ = strconv.Atoi(part) // digits, or "" for no patch
	}
	return v, nil
}

// Less tells whether v is older than other.
func (v Version) Less(other Version) bool {
	for i := range v {
		if v[i] != other[i] {
			return v[i] < other[i]
		}
	}
	return false
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// Features are what CRIU and the kernel can do here.
type Features struct {
	Version       Version
	Check         string // why `criu check` fails; "" if it passes
	Userfaultfd   bool   // memory may be restored lazily
	PagemapScan   bool   // written pages can be found by write protection
	SoftDirty     bool   // written pages can be found by CRIU itself
	Conntrack     int    // buckets of the kernel's table of connections; a dump walks over them twice, about 20 ns each
	KernelRelease string
	TimeNS        bool // clocks may go on where they were
}

// Usable is nil when a pod can be dumped and restored here, else it says why not.
func (f Features) Usable() error {
	if f.Version.Less(MinVersion()) {
		return fmt.Errorf("CRIU %s is too old, at least %s is needed", f.Version, MinVersion())
	}
	if f.Check != "" {
		return fmt.Errorf("`criu check` fails: %s", f.Check)
	}
	return nil
}

// Probe finds out what CRIU and the kernel can do here. program is CRIU, found in PATH when empty. The error says that CRIU
// can't be run at all.
func Probe(ctx context.Context, program string) (Features, error) {
	program = named(program)
	var f Features
	out, err := probe(ctx, program, "--version")
	if err == nil {
		f.Version, err = ParseVersion(out)
	}
	if err != nil {
		return f, fmt.Errorf("probing CRIU: %w; run `drover doctor`", err)
	}
	if out, err := probe(ctx, program, "check"); err != nil {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		f.Check = firstError(out)
	}
	for feature, has := range map[string]*bool{"uffd-noncoop": &f.Userfaultfd, "pagemap_scan": &f.PagemapScan, "mem_dirty_track": &f.SoftDirty} {
		_, err := probe(ctx, program, "check", "--feature", feature)
		*has = err == nil
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		f.KernelRelease = unix.ByteSliceToString(name.Release[:])
	}
	_, err = os.Stat("/proc/self/ns/time_for_children")
	f.TimeNS = err == nil
	if text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_buckets"); err == nil {
		f.Conntrack, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	return f, ctx.Err()
}

func probe(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	return string(out), err
}

// firstError is the first line of what `criu check` prints that speaks of an error, else its last line.
func firstError(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines {
		if _, reason, ok := strings.Cut(line, "): "); ok && strings.Contains(line, "Error") {
			return reason
		}
	}
	return lines[len(lines)-1]
}
