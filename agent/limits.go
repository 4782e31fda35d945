package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/drover-mesh/drover/agent/migrate"
)

// limits compares what the pod has with what this kernel's settings allow.
func (c *check) limits(f migrate.Facts) {
	for _, l := range []struct {
		setting, what string
		has           int
	}{
		{"kernel.pid_max", "a process or thread with the id %d", f.MaxPID},
		{"vm.max_map_count", "a process with %d mappings", f.MaxMappings},
		{"fs.inotify.max_user_watches", "%d inotify watches", f.Watches},
	} {
		allowed, err := sysctl(l.setting)
		if err != nil || l.has < allowed {
			continue
		}
		c.refuse(fmt.Sprintf("sysctl -w %s=%d there", l.setting, max(2*l.has, 2*allowed)),
			"its %s is %d, and the pod has "+l.what, l.setting, allowed, l.has)
	}
}

// sysctl reads a setting that is a number.
func sysctl(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// memory looks for memory that is free: while a pod is restored, its images and its processes are there.
func (c *check) memory(f migrate.Facts) {
	available := meminfo("MemAvailable")
	if need := 2 * f.MemoryBytes; available > 0 && available < need+spare {
		c.refuse("free some memory there", "it has %d MiB of memory available, and restoring the pod takes %d MiB and a spare %d", available>>20, need>>20, spare>>20)
	}
	if free := meminfo("HugePages_Free") >> 10 * meminfo("Hugepagesize"); free < f.HugeBytes {
		c.refuse(fmt.Sprintf("sysctl -w vm.nr_hugepages=N there, for %d MiB more", (f.HugeBytes-free)>>20),
			"it has %d MiB of huge pages free, and the pod uses %d MiB", free>>20, f.HugeBytes>>20)
	}
}

// meminfo reads a line of /proc/meminfo, in bytes; 0 if there is none. A count is taken for KiB, as all others are.
func meminfo(name string) int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), " kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}
