package pod

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestContainersSecurityOverThePods(t *testing.T) {
	m := parse(t, full)
	id := func(n int64) *int64 { return &n }
	require.Equal(t, security{
		user: id(0), group: id(1001), groups: []int64{2000, 3000}, strictGroups: true, capabilities: []string{"CAP_NET_ADMIN"},
		noNewPrivs: true, readOnlyRoot: true, seccomp: corev1.SeccompProfile{Type: "Unconfined"},
	}, m.security(m.container("redis")))
	require.Equal(t, security{
		user: id(1000), group: id(1001), nonRoot: true, groups: []int64{2000, 3000}, strictGroups: true, capabilities: usualCapabilities(),
		seccomp: corev1.SeccompProfile{Type: "RuntimeDefault"},
	}, m.security(m.container("side")))
	m = parse(t, minimal)
	require.Equal(t, security{capabilities: usualCapabilities(), seccomp: corev1.SeccompProfile{Type: "RuntimeDefault"}}, m.security(m.container("redis")),
		"the default seccomp profile needs no asking for")
}

func TestCapabilities(t *testing.T) {
	usual := func(less, more string) []string {
		all := slices.DeleteFunc(usualCapabilities(), func(c string) bool { return c == less })
		if more != "" {
			all = append(all, more)
		}
		slices.Sort(all)
		return all
	}
	type caps = []corev1.Capability
	for _, test := range []struct {
		add, drop caps
		want      []string
	}{
		{nil, nil, usual("", "")},
		{caps{"SYS_PTRACE"}, nil, usual("", "CAP_SYS_PTRACE")},
		{nil, caps{"net_raw"}, usual("CAP_NET_RAW", "")},
		{caps{"CHOWN", "CAP_KILL"}, caps{"ALL"}, []string{"CAP_CHOWN", "CAP_KILL"}},
		{caps{"CHOWN"}, caps{"all", "CHOWN"}, []string{}},
		{caps{"CHOWN", "CHOWN"}, nil, usual("", "")},
	} {
		require.Equal(t, test.want, grant(&corev1.Capabilities{Add: test.add, Drop: test.drop}), "%v", test)
	}
	require.True(t, slices.IsSorted(usualCapabilities()))
	require.Len(t, append(usualCapabilities(), otherCapabilities()...), 41, "CAP_LAST_CAP is 40")
}

func TestSeccompProfiles(t *testing.T) {
	r := &Runtime{config: Config{StateDir: t.TempDir()}}
	profile := func(p corev1.SeccompProfile, caps ...string) (*specs.LinuxSeccomp, error) {
		return r.seccomp(p, &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
	}
	local := func(name string) corev1.SeccompProfile {
		return corev1.SeccompProfile{Type: "Localhost", LocalhostProfile: &name}
	}
	allows := func(s *specs.LinuxSeccomp, call string) bool {
		return slices.ContainsFunc(s.Syscalls, func(c specs.LinuxSyscall) bool {
			return c.Action == specs.ActAllow && slices.Contains(c.Names, call) && len(c.Args) == 0
		})
	}

	none, err := profile(corev1.SeccompProfile{Type: "Unconfined"})
	require.NoError(t, err)
	require.Nil(t, none)
	usual, err := profile(corev1.SeccompProfile{Type: "RuntimeDefault"})
	require.NoError(t, err)
	require.Equal(t, specs.ActErrno, usual.DefaultAction)
	require.True(t, allows(usual, "read"))
	require.False(t, allows(usual, "mount"))
	more, err := profile(corev1.SeccompProfile{Type: "RuntimeDefault"}, "CAP_SYS_ADMIN")
	require.NoError(t, err)
	require.True(t, allows(more, "mount"), "it depends on the capabilities")

	write := func(name, content string) {
		require.NoError(t, os.MkdirAll(r.seccompDir(), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(r.seccompDir(), name), []byte(content), 0o600))
	}
	write("log.json", `{"defaultAction": "SCMP_ACT_LOG"}`)
	own, err := profile(local("log.json"))
	require.NoError(t, err)
	require.Equal(t, &specs.LinuxSeccomp{DefaultAction: specs.ActLog}, own)
	for name, content := range map[string]string{
		"docker.json": `{"defaultAction": "SCMP_ACT_LOG", "archMap": []}`, "empty.json": `{}`, "garbage.json": `]`,
		"listener.json": `{"defaultAction": "SCMP_ACT_LOG", "listenerPath": "/x"}`,
	} {
		write(name, content)
		_, err = profile(local(name))
		require.ErrorContains(t, err, "reading seccomp profile "+name+" of this node: ")
	}
	_, err = profile(local("none.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
	secret := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(secret, []byte(`{"defaultAction": "SCMP_ACT_LOG"}`), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(r.seccompDir(), "link.json")))
	_, err = profile(local("link.json"))
	require.ErrorContains(t, err, "escapes")
	m := parse(t, with("  securityContext: {seccompProfile: {type: Localhost, localhostProfile: a.json}}\n", ""))
	require.Equal(t, "the seccomp profile of container redis is the node's own", m.Needs().Pinned)
}
