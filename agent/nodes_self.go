package agent

import (
	"bufio"
	"context"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/state"
)

// self is this node as it describes itself to the mesh.
func (a *agent) self(ctx context.Context) state.Node {
	c := a.config
	n := state.Node{
		Name: c.Node, Site: c.Site, Addr: c.Address, Gossip: c.Gossip, Arch: runtime.GOARCH, Version: a.version,
		Server: c.Role == configs.Server, Configured: c.Labels,
	}
	features, err := a.host.features(ctx)
	if err != nil {
		a.log.Warn("asking CRIU for its version", "err", err) // pods can't move then, as drover doctor says too
	} else {
		n.CRIU, n.Kernel = features.Version.String(), features.KernelRelease
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		a.log.Warn("asking for the size of the memory", "err", err)
	} else {
		n.Capacity = state.Resources{CPU: 1000 * int64(runtime.NumCPU()), Memory: int64(info.Totalram) * int64(info.Unit)}
	}
	if n.CPUFlags, err = readCPUFlags(); err != nil {
		a.log.Warn("reading the features of the CPU", "err", err)
	}
	return n
}

func readCPUFlags() ([]string, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return cpuFlags(f)
}

// programFlags are the flags of x86 that name instructions and registers which programs look for and use, as opposed to
// those about the kernel's work, errata and their mitigation, in which hosts may well differ. A flag that is missing here
// is not lost: before a move CRIU compares the CPUs themselves (arch/x86/include/asm/cpufeatures.h has all).
var programFlags = regexp.MustCompile(`^(3dnow\w*|abm|adx|aes|amx_\w+|avx\w*|bmi[12]|cldemote|clflush(opt)?|clwb|clzero|cmov|` +
	`cmpccxadd|cx8|cx16|enqcmd|erms|f16c|fma4?|fpu|fsgsbase|fsrm|fxsr(_opt)?|fzrm|fsrs|fsrc|gfni|hle|kl|lahf_lm|lwp|mmx(ext)?|movbe|movdir\w+|` +
	`mwaitx|ospke|pclmulqdq|pku|pni|popcnt|prefetchi|rdpid|rdpru|rdrand|rdseed|rdtscp|rtm|serialize|sha\w*|sm[34]|s?sse\w*|` +
	`tbm|tsxldtrk|vaes|vpclmulqdq|waitpkg|widekl|xgetbv1|xop|xsave\w*)$`)

// cpuFlags reads from /proc/cpuinfo the features of the first processor that programs may use, sorted: "flags" of x86,
// "Features" of ARM, where all of them are for programs.
func cpuFlags(cpuinfo io.Reader) ([]string, error) {
	lines := bufio.NewScanner(cpuinfo)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var flags []string
		switch strings.TrimSpace(name) {
		case "flags":
			flags = slices.DeleteFunc(strings.Fields(value), func(f string) bool { return !programFlags.MatchString(f) })
		case "Features":
			flags = strings.Fields(value)
		default:
			continue
		}
		slices.Sort(flags)
		return slices.Compact(flags), nil
	}
	return nil, lines.Err()
}
