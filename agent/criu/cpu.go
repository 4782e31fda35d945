package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// cpuFlags are the features that programs find by themselves, and that a CPU may lack: what instructions and registers there
// are, by the names of x86's /proc/cpuinfo. The other flags are the kernel's own affair. It is CRIU's list
// (criu/arch/x86/cpu.c, x86_ins_capability_mask) and what has come since.
const cpuFlags = `fpu tsc cx8 sep cmov clflush mmx fxsr sse sse2 syscall mmxext rdtscp 3dnowext 3dnow pni pclmulqdq ssse3 fma cx16
sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand lahf_lm abm sse4a misalignsse 3dnowprefetch xop fma4 tbm fsgsbase bmi1 hle
avx2 bmi2 erms rtm mpx avx512f avx512dq rdseed adx avx512ifma clflushopt clwb avx512pf avx512er avx512cd sha_ni avx512bw avx512vl
xsaveopt xsavec xgetbv1 xsaves avx512vbmi pku ospke waitpkg avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg
avx512_vpopcntdq rdpid cldemote movdiri movdir64b enqcmd avx512_4vnniw avx512_4fmaps fsrm avx512_vp2intersect serialize tsxldtrk
amx_bf16 avx512_fp16 amx_tile amx_int8 amx_fp16 amx_complex avx_vnni avx512_bf16 avx_ifma avx_vnni_int8 avx_vnni_int16 avx_ne_convert
cmpccxadd sha512 sm3 sm4 avx10_1 clzero rdpru user_shstk`

// CPUFlags lists what programs may have found that this host's CPU can do, as the kernel names it. CRIU's own comparison
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
		switch strings.TrimSpace(name) {
		case "Features":
			return strings.Fields(value)
		case "flags":
			known := strings.Fields(cpuFlags)
			return slices.DeleteFunc(strings.Fields(value), func(flag string) bool { return !slices.Contains(known, flag) })
		}
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
