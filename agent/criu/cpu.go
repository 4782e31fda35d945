package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// cpuImage is CRIU's name for the image of a host's CPU.
const cpuImage = "cpuinfo.img"

// maxCPUImage bounds what is accepted as such an image, in bytes; it has some 200.
const maxCPUImage = 64 << 10

// DumpCPU describes this host's CPU in CRIU's own format, for CheckCPU elsewhere.
func DumpCPU(ctx context.Context, program string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "drover-cpu-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if out, err := probe(ctx, named(program), "cpuinfo", "dump", "-D", dir); err != nil {
		return nil, fmt.Errorf("describing the CPU: %w: %s", err, firstError(out))
	}
	return os.ReadFile(filepath.Join(dir, cpuImage))
}

// CheckCPU is nil if what runs on that CPU can go on running here, with each of its instructions and registers. It has to be
// asked before the freeze: a restore on a lesser CPU may succeed, and the pod die of SIGILL.
func CheckCPU(ctx context.Context, program string, image []byte) error {
	if len(image) > maxCPUImage {
		return fmt.Errorf("comparing CPUs: an image of %d bytes is not one of a CPU", len(image))
	}
	dir, err := os.MkdirTemp("", "drover-cpu-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, cpuImage), image, 0o600); err != nil {
		return err
	}
	if out, err := probe(ctx, named(program), "cpuinfo", "check", "-D", dir, "--cpu-cap=ins,fpu"); err != nil {
		return errors.New(firstError(out))
	}
	return nil
}

// programFlags are the flags of x86 that name instructions and registers which programs look for by themselves, as opposed to
// those about the kernel's own work, errata and their mitigation, in which hosts may well differ
// (arch/x86/include/asm/cpufeatures.h in the kernel's source has all; CRIU's list is x86_ins_capability_mask in
// criu/arch/x86/cpu.c).
var programFlags = regexp.MustCompile(`^(3dnow\w*|abm|adx|aes|amx_\w+|avx\w*|bmi[12]|cldemote|clflush(opt)?|clwb|clzero|cmov|` +
	`cmpccxadd|cx8|cx16|enqcmd|erms|f16c|fma4?|fpu|fsgsbase|fsrm|fxsr(_opt)?|fzrm|fsrs|fsrc|gfni|hle|kl|lahf_lm|lwp|misalignsse|mmx(ext)?|` +
	`movbe|movdir\w+|mpx|mwaitx|ospke|pclmulqdq|pku|pni|popcnt|prefetchi|rdpid|rdpru|rdrand|rdseed|rdtscp|rtm|sep|serialize|sha\w*|sm[34]|` +
	`s?sse\w*|syscall|tbm|tsc|tsxldtrk|user_shstk|vaes|vpclmulqdq|waitpkg|widekl|xgetbv1|xop|xsave\w*)$`)

// CPUFlags lists what programs may have found that this host's CPU can do, as the kernel names it, sorted. CRIU's own comparison
// says only that something is missing.
func CPUFlags() ([]string, error) {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, fmt.Errorf("listing the CPU's features: %w", err)
	}
	return parseCPUFlags(string(text)), nil
}

// parseCPUFlags reads the first processor's: "flags" on x86, of which some matter; "Features" on ARM, where all do.
func parseCPUFlags(cpuinfo string) []string {
	for line := range strings.Lines(cpuinfo) {
		name, value, _ := strings.Cut(line, ":")
		flags := strings.Fields(value)
		switch strings.TrimSpace(name) {
		case "Features":
		case "flags":
			flags = slices.DeleteFunc(flags, func(flag string) bool { return !programFlags.MatchString(flag) })
		default:
			continue
		}
		slices.Sort(flags)
		return slices.Compact(flags)
	}
	return nil
}

// MissingFlags are those that a host lacks of what another has.
func MissingFlags(wanted, has []string) []string {
	return slices.DeleteFunc(slices.Clone(wanted), func(flag string) bool { return slices.Contains(has, flag) })
}

func named(program string) string {
	if program == "" {
		return "criu"
	}
	return program
}
