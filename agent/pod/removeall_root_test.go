//go:build root

package pod

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRemoveAllTakesPodsAndHalves(t *testing.T) {
	r, s := newRuntime(t, "sleep 1000")
	start(t, r, s)
	require.NoError(t, r.Freeze(limited(t), uid))
	half := r.pod("half-made")
	require.NoError(t, os.MkdirAll(half.bundles, 0o700))
	require.NoError(t, os.MkdirAll(half.run, 0o700))
	for range 2 {
		require.NoError(t, r.RemoveAll(limited(t)))
		require.NoError(t, RemoveCgroups(limited(t), Cgroupfs, r.config.CgroupParent))
		for _, pattern := range []string{r.bundles() + "/*", r.config.RunDir + "/pods/*", "/sys/fs/cgroup" + r.config.CgroupParent, "/sys/fs/cgroup/*" + r.config.CgroupParent} {
			left, err := filepath.Glob(pattern)
			require.NoError(t, err)
			require.Empty(t, left)
		}
	}
}
