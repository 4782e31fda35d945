//go:build hosts

package hosts

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// traces is a script that lists all that drover could leave on a host.
const traces = `
{
	find /etc /usr /var /run -xdev -iname '*drover*' -not -path '*/apt/*' -not -path '/var/log/*'
	find /sys/fs/cgroup -maxdepth 3 -type d -name '*drover*'
	grep -E 'drover|overlay' /proc/self/mountinfo || true
	ip -oneline link | awk -F ': ' '{print $2}'
	ip netns
	ip rule
	ip route show table all | grep -v -e 'table local' -e ^multicast
	ps -e -o comm= | grep -E 'runc|conmon|criu|drover|redis' || true
	systemctl list-units --all --no-legend --no-pager 'drover*'
	systemctl list-unit-files --no-legend --no-pager 'drover*' || true
} | sort`

func (w *world) install(t *testing.T) {
	require.NoError(t, w.both(t.Context(), func(ctx context.Context, g *guest) error {
		_, err := g.shell.run(ctx, "tar --extract --file /dev/vdb --directory /root")
		if err != nil {
			return err
		}
		if w.before[g], err = g.shell.run(ctx, traces); err != nil {
			return err
		}
		_, err = g.shell.run(ctx, "export DEBIAN_FRONTEND=noninteractive; apt-get install --yes --quiet=2 /root/old.deb")
		return err
	}))
	for _, g := range []*guest{w.h1, w.h2} {
		require.Equal(t, "enabled inactive", must(t, g, "echo $(systemctl is-enabled drover-agent) $(systemctl is-active drover-agent)"),
			"it starts once there is a configuration")
		must(t, g, "drover doctor")
	}
	g := w.h1
	require.Equal(t, "4194304", must(t, g, "cat /proc/sys/fs/pipe-max-size"))
	require.Contains(t, must(t, g, `. /usr/share/bash-completion/completions/drover && complete -p drover`), "__start_drover")
	must(t, g, "test -s /usr/share/man/man1/drover-migrate.1.gz -o ! -d /usr/share/man/man1") // guests may be without manuals
	must(t, g, "/usr/lib/drover/deps.sh pods")
}

// upgrade puts the next version on both hosts, first where the pod runs.
func (w *world) upgrade(t *testing.T) {
	before := w.awaitPod(t, w.h1)
	for _, g := range []*guest{w.h1, w.h2} {
		must(t, g, "echo '# mine' >> /etc/default/drover; DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 /root/new.deb")
		require.Equal(t, "active", must(t, g, "systemctl is-active drover-agent"))
		require.Contains(t, must(t, g, "drover version; drover status"), secondVersion)
		require.Contains(t, must(t, g, "cat /etc/default/drover"), "# mine", "the administrator's file is kept")
		requireCounting(t, w.counter)
	}
	w.awaitMesh(t)
	require.Equal(t, before.Containers[0].PID, w.awaitPod(t, w.h1).Containers[0].PID)
	require.Equal(t, before.Epoch, w.awaitPod(t, w.h1).Epoch)
}

// reinstall removes the package while the pod runs: the pod goes on, and the package finds it when it is back.
func (w *world) reinstall(t *testing.T) {
	before := w.awaitPod(t, w.h2)
	said := must(t, w.h2, "apt-get remove --yes --quiet=2 drover 2>&1")
	require.Contains(t, said, "containers that run on without an agent: 1")
	must(t, w.h2, "test ! -e /usr/bin/drover; test -e /etc/drover/agent.yaml; test -e /etc/default/drover; test -d /var/lib/drover")
	w.countAnew(t, w.h2)
	must(t, w.h2, "apt-get install --yes --quiet=2 /root/new.deb")
	w.awaitMesh(t)
	require.Equal(t, before.Containers[0].PID, w.awaitPod(t, w.h2).Containers[0].PID)
	w.stopClient(t)
}

// purge ends the pod that is there, and leaves no trace of it or of drover.
func (w *world) purge(t *testing.T) {
	must(t, w.h2, "cd /root && drover image load other redis.tar && sed 's/: redis$/: other/' redis.yaml | drover pod run --node h2 -f -")
	must(t, w.h2, "pgrep --count redis-server")
	must(t, w.h2, "apt-get purge --yes --quiet=2 drover")
	require.Equal(t, w.before[w.h2], must(t, w.h2, traces)+"\n")
	must(t, w.h1, "drover pod get redis")
	// What was on a node that is gone for good is gone too.
	must(t, w.h1, "drover node rm h2 --delete-pods; ! drover pod get other")
}
