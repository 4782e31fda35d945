//go:build root

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A site that loses power keeps what is on its disk and nothing else, and comes back as the host that it was.
func TestCrashAndBoot(t *testing.T) {
	noLeaks(t, "t-power")
	for name, hosts := range map[string]map[string]Host{
		"the machine's disk": nil,
		"a disk of its own":  {"fra": {Disk: 64 << 20, Clock: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions("t-power")
			o.Hosts = hosts
			l := up(t, o)
			defer l.Down(context.Background())
			before, err := l.Site("fra")
			require.NoError(t, err)
			inSite(t, l, "fra", "sh", "-ec", "echo 1 > /run/x; echo 1 > /var/lib/drover/x; mkdir -p /mnt; mount -t tmpfs x /mnt")
			startFrozen(t, l, "fra")
			for range 2 {
				require.NoError(t, l.Crash(t.Context(), "fra"))
				require.NoError(t, l.Crash(t.Context(), "fra"), "twice is harmless")
				require.Contains(t, l.Status(t.Context()).Problem, "site fra has died")
				require.Error(t, l.Exec(t.Context(), "ams", "ping", "-c1", "-W1", before.Address.String()).Run())
				dirs, err := cgroupTree(l.cgroup("fra"))
				require.NoError(t, err)
				require.Empty(t, dirs)

				require.NoError(t, l.Boot(t.Context(), "fra"))
				require.Equal(t, "up", l.Status(t.Context()).State)
				require.Equal(t, "1 none", inSite(t, l, "fra", "sh", "-c", "echo $(cat /var/lib/drover/x) $(cat /run/x 2>/dev/null || echo none)"))
				require.Equal(t, "fra", inSite(t, l, "fra", "hostname"))
				requireReaches(t, l, "ams", "fra")
				requireReaches(t, l, "fra", "client")
				eventually(t, "the agent runs again", func() bool {
					s, err := l.Agent(t.Context(), "fra")
					return err == nil && s.Running
				})
			}
			left, err := loops(l.Dir())
			require.NoError(t, err)
			require.Len(t, left, len(hosts), "each disk is there once")
		})
	}
}

// startFrozen starts a daemon in a cgroup of its own, and freezes it.
func startFrozen(t *testing.T, l *Lab, site string) {
	t.Helper()
	groups, err := openHierarchies()
	require.NoError(t, err)
	pod := filepath.Join(l.cgroup(site), "pods", "a")
	require.NoError(t, groups.make(pod))
	for _, point := range groups {
		inSite(t, l, site, "sh", "-ec", fmt.Sprintf(`setsid sh -c 'echo $$ > %s/cgroup.procs; exec sleep 1000' </dev/null >/dev/null 2>&1 &
			until grep -q . %[1]s/cgroup.procs; do sleep 0.01; done`, filepath.Join(point, "pods", "a")))
		for name, value := range map[string]string{"freezer.state": "FROZEN", "cgroup.freeze": "1"} {
			if path := filepath.Join(point, pod, name); fileExists(path) {
				require.NoError(t, os.WriteFile(path, []byte(value), 0))
			}
		}
	}
}

func TestCrashOfNoSite(t *testing.T) {
	l := &Lab{dir: t.TempDir()}
	require.ErrorContains(t, l.Crash(t.Context(), "xxx"), "no site")
	require.ErrorContains(t, l.Boot(t.Context(), "xxx"), "no site")
}
