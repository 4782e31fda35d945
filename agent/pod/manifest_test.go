package pod

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const minimal = `
apiVersion: v1
kind: Pod
metadata: {name: redis}
spec:
  containers:
  - name: redis
    image: redis
    command: [redis-server]
`

// with puts lines into the spec and into the container of the minimal manifest.
func with(spec, container string) string {
	text := strings.Replace(minimal, "spec:\n", "spec:\n"+spec, 1)
	return text + container
}

func TestManifestWithEverythingSupported(t *testing.T) {
	m, err := ParseManifest([]byte(`
apiVersion: v1
kind: Pod
metadata:
  name: my.redis
  labels: {app: redis}
  annotations: {note: "any: text"}
  creationTimestamp: null
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 7
  nodeName: ams
  hostNetwork: false
  containers:
  - name: redis
    image: redis:7
    imagePullPolicy: IfNotPresent
    command: [sh, -c]
    args: ["exec redis-server --port $(PORT) $(NONE) $$(PORT)"]
    workingDir: /data
    env:
    - {name: BASE, value: "637"}
    - {name: PORT, value: $(BASE)9}
    ports: [{containerPort: 6379, name: redis, protocol: TCP}]
    resources:
      limits: {cpu: 500m, memory: 64Mi}
      requests: {cpu: 250m, memory: 32Mi}
status: {}
`))
	require.NoError(t, err)
	require.Equal(t, "my.redis", m.Name())
	require.Equal(t, "my-redis", m.Hostname())
	require.Equal(t, "redis:7", m.Containers()[0].Image)
	require.Equal(t, "ams", m.NodeName())
	require.Equal(t, "OnFailure", m.RestartPolicy())
	require.Equal(t, 7*time.Second, m.GracePeriod())
	main := &m.pod.Spec.Containers[0]
	args, env := m.arguments(main)
	require.Equal(t, []string{"sh", "-c", "exec redis-server --port 6379 $(NONE) $(PORT)"}, args)
	require.Equal(t, []string{"PATH=" + defaultPath, "HOSTNAME=my-redis", "BASE=637", "PORT=6379"}, env)
	res := resources(main)
	require.EqualValues(t, 50_000, *res.CPU.Quota)
	require.EqualValues(t, 100_000, *res.CPU.Period)
	require.EqualValues(t, 256, *res.CPU.Shares)
	require.EqualValues(t, 64<<20, *res.Memory.Limit)
}

func TestManifestDefaults(t *testing.T) {
	m, err := ParseManifest([]byte(minimal))
	require.NoError(t, err)
	require.Equal(t, "Always", m.RestartPolicy())
	require.Equal(t, 30*time.Second, m.GracePeriod())
	require.Equal(t, "redis", m.Hostname())
	require.Nil(t, resources(&m.pod.Spec.Containers[0]).Memory)
	require.Nil(t, resources(&m.pod.Spec.Containers[0]).CPU.Quota)
	limited, err := ParseManifest([]byte(with("", "    resources: {limits: {cpu: 2}}\n")))
	require.NoError(t, err)
	require.EqualValues(t, 2048, *resources(&limited.pod.Spec.Containers[0]).CPU.Shares, "requests default to the limits")
}

func TestManifestSurvivesJSON(t *testing.T) {
	m, err := ParseManifest([]byte(with("  hostname: h\n", "    resources: {limits: {memory: 1Gi}}\n")))
	require.NoError(t, err)
	data, err := json.Marshal(m)
	require.NoError(t, err)
	again := &Manifest{}
	require.NoError(t, json.Unmarshal(data, again), "%s", data)
	require.Equal(t, m, again)
}

func TestManifestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		manifest string
		want     []string // parts of the error, one a problem
	}{
		"unknown": {with("  bogus: 1\n", "    livenesProbe: {}\n"), []string{`unknown field "spec.bogus"`, `unknown field "spec.containers[0].livenesProbe"`}},
		"known, not supported": {
			with("  volumes: [{name: v, emptyDir: {}}]\n  hostNetwork: true\n  securityContext: {runAsUser: 5}\n",
				"    livenessProbe: {exec: {command: [a]}}\n    ports: [{containerPort: 1, hostPort: 2}]\n    env: [{name: A, valueFrom: {fieldRef: {fieldPath: x}}}]\n"),
			[]string{
				"spec.volumes: not supported yet", "spec.hostNetwork: true is not supported yet", "spec.securityContext: not supported yet",
				"spec.containers[0].livenessProbe: not supported yet", "spec.containers[0].ports[0].hostPort: not supported yet",
				"spec.containers[0].env[0].valueFrom: not supported yet",
			},
		},
		"a false that means something": {with("", "    securityContext: {allowPrivilegeEscalation: false}\n"), []string{"spec.containers[0].securityContext: not supported yet"}},
		"two containers of a name":     {minimal + "  - {name: redis, image: b, command: [b]}\n", []string{"spec.containers[1].name: "}},
		"no containers":                {"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}", []string{"spec.containers: at least one"}},
		"no command":                   {strings.Replace(minimal, "    command: [redis-server]\n", "", 1), []string{"spec.containers[0].command: required"}},
		"no image":                     {strings.Replace(minimal, "    image: redis\n", "", 1), []string{"spec.containers[0].image: required"}},
		"bad name":                     {strings.Replace(minimal, "{name: redis}", "{name: Re/dis}", 1), []string{"metadata.name: "}},
		"bad policy":                   {with("  restartPolicy: Sometimes\n", ""), []string{"spec.restartPolicy: "}},
		"negative grace":               {with("  terminationGracePeriodSeconds: -1\n", ""), []string{"spec.terminationGracePeriodSeconds: "}},
		"relative directory":           {with("", "    workingDir: data\n"), []string{"spec.containers[0].workingDir: "}},
		"request above limit":          {with("", "    resources: {limits: {cpu: 1}, requests: {cpu: 2}}\n"), []string{"spec.containers[0].resources.requests.cpu: "}},
		"other resource":               {with("", "    resources: {limits: {nvidia.com/gpu: 1}}\n"), []string{"spec.containers[0].resources.limits.nvidia.com/gpu: not supported"}},
		"bad environment":              {with("", "    env: [{name: \"1 2\", value: x}]\n"), []string{"spec.containers[0].env[0].name: "}},
		"bad quantity":                 {with("", "    resources: {limits: {cpu: lots}}\n"), []string{"quantities"}},
		"wrong type":                   {with("", "    env: 5\n"), []string{"env"}},
		"twice":                        {minimal + "kind: Pod\n", []string{`"kind" already`}},
		"another kind":                 {strings.Replace(minimal, "kind: Pod", "kind: Deployment", 1), []string{"not v1 Deployment"}},
		"another version":              {strings.Replace(minimal, "apiVersion: v1", "apiVersion: v2", 1), []string{"not v2 Pod"}},
		"garbage":                      {"a: b\n  c: d", []string{"line 2"}},
		"a list":                       {"[]", []string{"a Pod is expected"}},
		"nothing":                      {"", []string{"a Pod is expected"}},
		"huge":                         {strings.Repeat("#", maxManifest+1), []string{"bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseManifest([]byte(test.manifest))
			var all *ManifestError
			require.True(t, errors.As(err, &all), "%v", err)
			require.Len(t, all.Problems, len(test.want), "%v", err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(with("  bogus: 1\n", "    env: [{name: A, value: $(A)$$(}]\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		for i := range m.pod.Spec.Containers {
			m.arguments(&m.pod.Spec.Containers[i])
			resources(&m.pod.Spec.Containers[i])
		}
		m.Needs()
		require.NotEmpty(t, m.Name())
		encoded, err := json.Marshal(m)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(encoded, &Manifest{}))
	})
}
