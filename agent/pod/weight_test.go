package pod

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPodsWeighWhatTheyRequest(t *testing.T) {
	for _, test := range []struct {
		name, file string
		v2         bool
		shares     int64
		want       string
	}{
		{"cgroup v1", "cpu/drover/u1/cpu.shares", false, 512, "512\n"},
		{"cgroup v2", "drover/u1/cpu.weight", true, 512, "20\n"},
		{"least", "drover/u1/cpu.weight", true, minShares, "1\n"},
		{"most", "drover/u1/cpu.weight", true, maxShares, "10000\n"},
		{"no hierarchy", "other", false, 512, "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := rootWith(t, map[string]string{test.file: "\n\n\n\n\n\n"})
			require.NoError(t, setWeight(dir, test.v2, "/drover/u1", test.shares))
			got, err := os.ReadFile(filepath.Join(dir, test.file))
			require.NoError(t, err)
			require.Equal(t, test.want, string(got)[:len(test.want)])
		})
	}
}

func TestQuotaIsLifted(t *testing.T) {
	for file, v2 := range map[string]bool{"cpu/drover/u1/cpu.cfs_quota_us": false, "drover/u1/cpu.max": true} {
		dir := rootWith(t, map[string]string{file: "..."})
		require.NoError(t, liftQuota(dir, v2, "/drover/u1"))
		got, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Contains(t, []string{"-1.", "max"}, string(got))
		require.NoError(t, liftQuota(dir, v2, "/drover/none"))
	}
}
