package pod

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResourcesAsTheKubeletHasThem(t *testing.T) {
	for _, test := range []struct {
		asked                 string
		shares                uint64
		quota, memory, andRAM int64 // -1 is unset
	}{
		{"", 2, -1, -1, -1},
		{"limits: {cpu: 500m, memory: 64Mi}, requests: {cpu: 250m, memory: 32Mi}", 256, 50_000, 64 << 20, 64 << 20},
		{"limits: {cpu: 2}", 2048, 200_000, -1, -1},
		{"requests: {cpu: 1m}", 2, -1, -1, -1},
		{"limits: {cpu: 1m}", 2, 1000, -1, -1},
		{"requests: {cpu: 1000}", 1 << 18, -1, -1, -1},
		{"limits: {memory: 1G}", 2, -1, 1_000_000_000, 1_000_000_000},
	} {
		c := parse(t, with("", "    resources: {"+test.asked+"}\n")).container("redis")
		res := resources(c, true)
		value := func(p *int64) int64 {
			if p == nil {
				return -1
			}
			return *p
		}
		require.Equal(t, test.shares, *res.CPU.Shares, test.asked)
		require.Equal(t, test.quota, value(res.CPU.Quota), test.asked)
		if test.memory < 0 {
			require.Nil(t, res.Memory, test.asked)
			continue
		}
		require.Equal(t, test.memory, value(res.Memory.Limit), test.asked)
		require.Equal(t, test.andRAM, value(res.Memory.Swap), test.asked)
		require.Nil(t, resources(c, false).Memory.Swap, "a kernel that can't limit swap")
	}
}

func TestSwapIsLimitedWhereTheKernelCan(t *testing.T) {
	for _, test := range []struct {
		file string
		want bool
	}{
		{"memory/memory.memsw.limit_in_bytes", true}, {"system.slice/memory.swap.max", true}, {"memory/memory.limit_in_bytes", false},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, test.file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		require.Equal(t, test.want, limitsSwap(dir), test.file)
	}
}
