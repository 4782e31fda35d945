//go:build root

package pod

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/isolation"
)

// The freezer of cgroup v2 is there on hosts with v1 controllers too, in the hierarchy named unified.
func TestFreezerOfBothVersions(t *testing.T) {
	v2 := "/sys/fs/cgroup"
	freezers := map[string]Freezer{}
	if !unified(v2) {
		freezers["v1"] = Freezer{dir: filepath.Join("/sys/fs/cgroup/freezer", isolation.Name()+"-freezer")}
		v2 += "/unified"
	}
	freezers["v2"] = Freezer{dir: filepath.Join(v2, isolation.Name()+"-freezer"), v2: true}
	for name, f := range freezers {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Mkdir(f.dir, 0o755))
			defer func() { require.NoError(t, unix.Rmdir(f.dir)) }()
			cmd := exec.Command("sh", "-c", "while :; do :; done")
			require.NoError(t, cmd.Start())
			require.NoError(t, os.WriteFile(filepath.Join(f.dir, "cgroup.procs"), []byte(fmt.Sprint(cmd.Process.Pid)), 0))
			for range 10 {
				require.NoError(t, f.Freeze(limited(t)))
				frozen, err := f.Frozen()
				require.NoError(t, err)
				require.True(t, frozen)
				require.NoError(t, f.Thaw())
				frozen, err = f.Frozen()
				require.NoError(t, err)
				require.False(t, frozen)
			}
			require.NoError(t, f.Freeze(limited(t)))
			n, err := f.kill()
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.NoError(t, f.Thaw())
			require.Error(t, cmd.Wait())
			require.Eventually(t, func() bool { n, err := f.kill(); return err == nil && n == 0 }, 5e9, 1e6)
		})
	}
	require.Error(t, Freezer{dir: "/sys/fs/cgroup/none"}.Freeze(limited(t)))
}
