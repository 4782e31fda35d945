package agent

import (
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/criu"
	"github.com/drover-mesh/drover/agent/migrate"
)

func TestOlder(t *testing.T) {
	for _, x := range []struct {
		version, than string
		older         bool
	}{
		{"6.1.0-28-amd64", "6.12.6", true}, {"6.12.6", "6.1.0", false}, {"6.12.1", "6.12.9", false}, {"5.19", "6.0", true}, {"1.1.5", "1.3.0", true},
		{"", "6.1", false}, {"6.1", "", false}, {"six", "7.1", false},
	} {
		assert.Equal(t, x.older, older(x.version, x.than), "%+v", x)
	}
}

// here is a host like the one that a pod comes from.
func here(t *testing.T) migrate.HostFacts {
	t.Helper()
	flags, err := criu.CPUFlags()
	require.NoError(t, err)
	return migrate.HostFacts{
		Arch: "amd64", CPUFlags: flags, Kernel: "6.12.6", PageSize: os.Getpagesize(), CRIU: [3]int{4, 2, 1}, Runtime: "1.3.0", TimeNS: true,
	}
}

func TestCheckComparesHosts(t *testing.T) {
	for name, x := range map[string]struct {
		edit            func(*migrate.HostFacts) // of the target
		refusal, warned string
	}{
		"the same":             {func(*migrate.HostFacts) {}, "", ""},
		"an older CRIU":        {func(h *migrate.HostFacts) { h.CRIU = [3]int{4, 1, 1} }, "its CRIU is 4.1.1, older than the 4.2.1", ""},
		"a newer CRIU":         {func(h *migrate.HostFacts) { h.CRIU = [3]int{5, 0, 0} }, "", ""},
		"an older runc":        {func(h *migrate.HostFacts) { h.Runtime = "1.1.5" }, "", "runc 1.1.5, older than 1.3.0's"},
		"larger pages":         {func(h *migrate.HostFacts) { h.PageSize *= 4 }, "its kernel has pages of", ""},
		"no time namespaces":   {func(h *migrate.HostFacts) { h.TimeNS = false }, "no time namespaces", ""},
		"an older kernel":      {func(h *migrate.HostFacts) { h.Kernel = "6.1.0-28-amd64" }, "", "Linux 6.1.0-28-amd64, older than the 6.12.6"},
		"a newer kernel":       {func(h *migrate.HostFacts) { h.Kernel = "6.18.44" }, "", ""},
		"another architecture": {func(h *migrate.HostFacts) { h.Arch = "arm64" }, "it is arm64, and the pod runs on amd64", ""},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := here(t), here(t)
			x.edit(&to)
			c := &check{node: "fra"}
			c.programs(from, to)
			c.kernel(from, to)
			if x.refusal == "" {
				assert.Empty(t, c.offer.Refusals)
			} else if assert.Len(t, c.offer.Refusals, 1) {
				assert.Contains(t, c.offer.Refusals[0].Reason, x.refusal)
				assert.NotEmpty(t, c.offer.Refusals[0].Cure)
				assert.Equal(t, "fra", c.offer.Refusals[0].Node)
			}
			if x.warned == "" {
				assert.Empty(t, c.offer.Warnings)
			} else if assert.Len(t, c.offer.Warnings, 1) {
				assert.Contains(t, c.offer.Warnings[0], x.warned)
			}
		})
	}
}

func TestCheckNamesMissingCPUFlags(t *testing.T) {
	from, to := here(t), here(t)
	from.CPUFlags = append(from.CPUFlags, "avx1024", "time_travel")
	c := &check{node: "fra"}
	c.cpu(t.Context(), from, to)
	require.Len(t, c.offer.Refusals, 1)
	assert.Contains(t, c.offer.Refusals[0].Reason, "at their start: avx1024 time_travel")
}

func TestCheckLimits(t *testing.T) {
	c := &check{node: "fra"}
	c.limits(migrate.Facts{MaxPID: 10, MaxMappings: 100, Watches: 3})
	require.Empty(t, c.offer.Refusals)
	allowed, err := sysctl("vm.max_map_count")
	require.NoError(t, err)
	c.limits(migrate.Facts{MaxPID: 1 << 30, MaxMappings: allowed})
	require.Len(t, c.offer.Refusals, 2, "%+v", c.offer.Refusals)
	assert.Contains(t, c.offer.Refusals[0].Reason, "its kernel.pid_max is ")
	assert.Contains(t, c.offer.Refusals[0].Cure, "sysctl -w kernel.pid_max=2147483648")
	assert.Contains(t, c.offer.Refusals[1].Reason, "its vm.max_map_count is ")
}

func TestCheckMemoryAndRoom(t *testing.T) {
	c := &check{node: "fra"}
	c.memory(migrate.Facts{MemoryBytes: 1 << 20})
	require.NoError(t, c.room(t.TempDir(), 1<<20, 10, "the pod's files"))
	require.Empty(t, c.offer.Refusals)
	c.memory(migrate.Facts{MemoryBytes: 1 << 50, HugeBytes: 1 << 50})
	require.NoError(t, c.room(t.TempDir(), 1<<60, 1<<60, "the pod's files"))
	require.GreaterOrEqual(t, len(c.offer.Refusals), 3, "%+v", c.offer.Refusals)
	assert.Contains(t, c.offer.Refusals[0].Reason, "MiB of memory available")
	assert.Contains(t, c.offer.Refusals[1].Reason, "MiB of huge pages free, and the pod uses 1073741824 MiB")
	assert.Contains(t, c.offer.Refusals[2].Reason, "MiB free in ")
	require.Error(t, c.room("/no/such/directory", 1, 1, "the pod's files"))
}

func TestCheckAddress(t *testing.T) {
	c := &check{node: "fra"}
	require.NoError(t, c.address(netip.MustParseAddr("198.51.100.77")))
	require.Empty(t, c.offer.Refusals)
	require.NoError(t, c.address(netip.MustParseAddr("127.0.0.1")))
	require.Len(t, c.offer.Refusals, 1)
	assert.Contains(t, c.offer.Refusals[0].Reason, "the host itself has the pod's address 127.0.0.1")
}
