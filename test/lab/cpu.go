package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// cpuInfo is where the kernel lists the CPUs' features.
const cpuInfo = "/proc/cpuinfo"

// cpuFlags splits a line of it that lists them, "flags" on x86 and "Features" on ARM.
func cpuFlags(line string) (head string, flags []string, ok bool) {
	key, value, ok := strings.Cut(line, ":")
	if name := strings.TrimSpace(key); !ok || name != "flags" && name != "Features" {
		return "", nil, false
	}
	return key + ":", strings.Fields(value), true
}

// checkMask returns an error if the machine lacks a flag by itself: to mask that would change nothing.
func checkMask(mask []string) error {
	if len(mask) == 0 {
		return nil
	}
	text, err := os.ReadFile(cpuInfo)
	if err != nil {
		return fmt.Errorf("reading the CPUs' features: %w", err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if _, flags, ok := cpuFlags(line); ok {
			all = flags
			break
		}
	}
	for _, flag := range mask {
		if !slices.Contains(all, flag) {
			return fmt.Errorf("CPU mask: %q is no flag of this machine's CPU; %s lists them", flag, cpuInfo)
		}
	}
	return nil
}

// maskCPU takes flags out of the text of /proc/cpuinfo.
func maskCPU(text string, mask []string) string {
	var masked strings.Builder
	for line := range strings.Lines(text) {
		if head, flags, ok := cpuFlags(line); ok {
			flags = slices.DeleteFunc(flags, func(flag string) bool { return slices.Contains(mask, flag) })
			line = head + " " + strings.Join(flags, " ") + "\n"
		}
		masked.WriteString(line)
	}
	return masked.String()
}

// arrangeCPU covers the site's /proc/cpuinfo. The file lies on the stage, and outlives that in its mount.
func arrangeCPU(mask []string) error {
	if len(mask) == 0 {
		return nil
	}
	text, err := os.ReadFile(cpuInfo)
	if err != nil {
		return fmt.Errorf("reading the CPUs' features: %w", err)
	}
	const masked = stage + "/cpuinfo"
	if err := os.WriteFile(masked, []byte(maskCPU(string(text), mask)), 0o444); err != nil {
		return fmt.Errorf("masking the CPUs' features: %w", err)
	}
	return bindFile(masked, cpuInfo)
}
