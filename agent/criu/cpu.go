package criu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
		return fmt.Errorf("this host's CPU lacks what the pod's has: %s", firstError(out))
	}
	return nil
}

func named(program string) string {
	if program == "" {
		return "criu"
	}
	return program
}
