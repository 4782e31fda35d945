package pod

import (
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

const (
	// cpuPeriod is over how long a limit of processor time holds, in microseconds: the kernel's and the kubelet's default.
	cpuPeriod = 100_000
	minQuota  = 1000 // the kernel's
	minShares = 2
	maxShares = 1 << 18 // the kernel's
	// minMemory is the least limit in bytes that Docker takes: with less, runc itself hardly gets a container started.
	minMemory = 6 << 20
)

// resources translates as the kubelet does: pkg/kubelet/cm/helpers_linux.go in kubernetes/kubernetes. runc translates on for
// cgroup v2. swap says that the kernel can limit swap; a container with a limit gets none.
func resources(c *corev1.Container, swap bool) *specs.LinuxResources {
	limits := c.Resources.Limits
	cpu, _ := requests(c)
	res := &specs.LinuxResources{
		// The default set of devices (runc adds it) and nothing else.
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		CPU:     &specs.LinuxCPU{Shares: ptr(uint64(shares(cpu)))},
	}
	if limit, ok := limits[corev1.ResourceCPU]; ok {
		res.CPU.Quota = ptr(max(limit.MilliValue()*cpuPeriod/1000, minQuota))
		res.CPU.Period = ptr(uint64(cpuPeriod))
	}
	if limit, ok := limits[corev1.ResourceMemory]; ok {
		res.Memory = &specs.LinuxMemory{Limit: ptr(limit.Value())}
		if swap {
			res.Memory.Swap = res.Memory.Limit // of memory and swap together
		}
	}
	return res
}

// shares is the weight of so many thousandths of a core. Who requests nothing gets what others leave.
func shares(milli int64) int64 { return min(max(milli*1024/1000, minShares), maxShares) }

// limitsSwap tells whether the kernel can limit swap. In the root of a cgroup v2 hierarchy there is no file for it.
func limitsSwap(hierarchies string) bool {
	for _, file := range []string{"memory.memsw.limit_in_bytes", "memory.swap.max"} {
		if found, err := filepath.Glob(filepath.Join(hierarchies, "*", file)); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

func ptr[T any](v T) *T { return &v }
