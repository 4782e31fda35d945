package pod

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCgroupsOfADriver(t *testing.T) {
	for _, tc := range []struct {
		cgroups                    cgroups
		pod, container, forRuntime string
		reserved                   string
		options                    []string
	}{
		{cgroups{Cgroupfs, "/drover"}, "/drover/u1", "/drover/u1/web-server", "/drover/u1/web-server", ".", nil},
		{
			cgroups{Systemd, "/drover.slice"}, "/drover.slice/drover-u1.slice", "/drover.slice/drover-u1.slice/drover-u1-web-server.scope",
			"drover-u1.slice:drover:u1-web-server", ".-", []string{"--systemd-cgroup"},
		},
		{
			cgroups{Systemd, "/edge.slice/edge-pods.slice"}, "/edge.slice/edge-pods.slice/edge-pods-u1.slice",
			"/edge.slice/edge-pods.slice/edge-pods-u1.slice/drover-u1-web-server.scope", "edge-pods-u1.slice:drover:u1-web-server", ".-", []string{"--systemd-cgroup"},
		},
	} {
		require.NoError(t, tc.cgroups.check())
		require.Equal(t, tc.pod, tc.cgroups.pod("u1"))
		require.Equal(t, tc.container, tc.cgroups.container("u1", "web-server"))
		require.Equal(t, tc.forRuntime, tc.cgroups.forRuntime("u1", "web-server"))
		require.Equal(t, tc.reserved, tc.cgroups.reserved())
		require.Equal(t, tc.options, tc.cgroups.runtimeOptions())
	}
}

func TestImpossibleCgroupsAreRefused(t *testing.T) {
	for want, c := range map[string]cgroups{
		`"drover" is not an absolute path`: {Cgroupfs, "drover"},
		`"/drover" is not a slice`:         {Systemd, "/drover"},
		`"cgroup2" is not a cgroup driver`: {"cgroup2", "/drover"},
		`"" is not an absolute path`:       {Systemd, ""},
		`"/a/drover.scope" is not a slice`: {Systemd, "/a/drover.scope"},
	} {
		require.ErrorContains(t, c.check(), want)
	}
}

// What outlives the agent gets a scope where systemd makes the cgroups, and else a cgroup of its own.
func TestApart(t *testing.T) {
	c := cgroups{Systemd, "/edge.slice/edge-pods.slice"}
	require.Empty(t, c.monitors())
	require.Contains(t, c.apart(), "--slice=edge-pods.slice")
	require.Equal(t, "--", c.apart()[len(c.apart())-1])

	c = cgroups{Cgroupfs, "/drover"}
	for _, dir := range c.monitors() {
		require.Contains(t, c.apart(), dir+"/cgroup.procs")
	}
}
