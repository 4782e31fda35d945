package pod

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommandOfManifestAndImage(t *testing.T) {
	image := ImageConfig{Entrypoint: []string{"/entry", "-x"}, Cmd: []string{"serve", "$(A)"}}
	for _, test := range []struct {
		container string
		image     ImageConfig
		want      []string
	}{ // the table in https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/
		{"", image, []string{"/entry", "-x", "serve", "$(A)"}},
		{"    command: [run]\n", image, []string{"run"}},
		{"    args: [a, $(A)]\n", image, []string{"/entry", "-x", "a", "1"}},
		{"    command: [run]\n    args: [a]\n", image, []string{"run", "a"}},
		{"", ImageConfig{Cmd: []string{"sh"}}, []string{"sh"}},
		{"", ImageConfig{}, nil},
		{"", ImageConfig{Entrypoint: []string{""}}, nil},
	} {
		m := parse(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    image: i\n    env: [{name: A, value: '1'}]\n"+test.container)
		c := m.container("c")
		_, values := Spec{Manifest: m}.environment(c, test.image)
		args, err := arguments(c, test.image, values)
		require.Equal(t, test.want, args)
		if test.want == nil {
			require.ErrorContains(t, err, "its image says no program to run: give it a command")
		}
	}
	require.Equal(t, []string{"serve", "$(A)"}, image.Cmd, "the image's own words are left alone")
}

func TestEnvironmentOfManifestAndImage(t *testing.T) {
	m := parse(t, full)
	s := Spec{UID: "u1", Manifest: m, Hostname: m.Hostname(), Address: netip.MustParseAddr("10.88.0.2")}
	env, values := s.environment(m.container("redis"), ImageConfig{Env: []string{"LANG=C", "BASE=1", "PATH=/opt/bin", "EMPTY="}})
	require.Equal(t, []string{
		"PATH=/opt/bin", "LANG=C", "BASE=637", "EMPTY=", "HOSTNAME=my-redis", "PORT=6379", "POD=my.redis", "APP=redis", "LIMIT=64", "CPUS=1",
	}, env)
	args, err := arguments(m.container("redis"), ImageConfig{}, values)
	require.NoError(t, err)
	require.Equal(t, []string{"sh", "-c", "exec redis-server --port 6379 $(NONE) $(PORT)"}, args)

	env, _ = s.environment(m.container("side"), ImageConfig{})
	require.Equal(t, []string{"PATH=" + defaultPath, "HOSTNAME=my-redis"}, env)
}

func TestVariablesFromThePodItself(t *testing.T) {
	text := with("", "    resources: {limits: {cpu: 1500m, memory: 100000000}, requests: {memory: 50Mi}}\n    env:\n")
	want := []string{"PATH=" + defaultPath, "HOSTNAME="}
	for i, v := range []struct{ from, value string }{
		{"fieldRef: {fieldPath: metadata.uid}", "u1"},
		{"fieldRef: {fieldPath: metadata.namespace}", "default"},
		{"fieldRef: {fieldPath: status.podIP}", "10.88.0.2"},
		{"fieldRef: {fieldPath: status.podIPs}", "10.88.0.2"},
		{"fieldRef: {fieldPath: \"metadata.annotations['none']\"}", ""},
		{"resourceFieldRef: {resource: limits.cpu}", "2"},
		{"resourceFieldRef: {resource: limits.cpu, divisor: 1m}", "1500"},
		{"resourceFieldRef: {resource: requests.cpu, divisor: 100m}", "15"},
		{"resourceFieldRef: {resource: limits.memory}", "100000000"},
		{"resourceFieldRef: {resource: limits.memory, divisor: 1Mi}", "96"},
		{"resourceFieldRef: {resource: requests.memory, divisor: 1Ki}", "51200"},
	} {
		text += fmt.Sprintf("    - {name: V%d, valueFrom: {%s}}\n", i, v.from)
		want = append(want, fmt.Sprintf("V%d=%s", i, v.value))
	}
	m := parse(t, text)
	env, _ := Spec{UID: "u1", Manifest: m, Address: netip.MustParseAddr("10.88.0.2")}.environment(m.container("redis"), ImageConfig{})
	require.Equal(t, want, env)
}
