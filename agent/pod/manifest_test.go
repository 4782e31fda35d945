package pod

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
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

// full has everything that is supported.
const full = `
apiVersion: v1
kind: Pod
metadata:
  name: my.redis
  namespace: default
  labels: {app: redis}
  annotations: {example.com/note: "any: text"}
  creationTimestamp: null
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 7
  nodeName: ams
  nodeSelector: {zone: a}
  hostNetwork: false
  schedulerName: default-scheduler
  dnsPolicy: None
  dnsConfig:
    nameservers: [10.0.0.53]
    searches: [example.com, .]
    options: [{name: ndots, value: "2"}, {name: edns0}]
  hostAliases: [{ip: 10.0.0.9, hostnames: [db, db.example.com]}]
  securityContext:
    runAsUser: 1000
    runAsGroup: 1001
    runAsNonRoot: true
    supplementalGroups: [2000]
    supplementalGroupsPolicy: Strict
    fsGroup: 3000
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
    sysctls: [{name: net.ipv4.tcp_keepalive_time, value: "60"}, {name: kernel/shmmax, value: "1048576"}]
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: fast, emptyDir: {medium: Memory, sizeLimit: 32Mi}}
  - {name: data, persistentVolumeClaim: {claimName: redis-data}}
  - {name: dev, hostPath: {path: /srv/x, type: DirectoryOrCreate}}
  initContainers:
  - name: fill
    image: tools:1
    args: [fill]
    resources: {requests: {cpu: 300m, memory: 8Mi}}
    volumeMounts: [{name: data, mountPath: /data}]
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
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: APP, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: "metadata.labels['app']"}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {containerName: redis, resource: limits.cpu}}}
    ports: [{containerPort: 6379, name: redis, protocol: TCP}]
    resources:
      limits: {cpu: 500m, memory: 64Mi}
      requests: {cpu: 250m, memory: 32Mi}
    securityContext:
      runAsUser: 0
      runAsNonRoot: false
      privileged: false
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      procMount: Default
      capabilities: {add: [NET_ADMIN], drop: [all]}
      seccompProfile: {type: Unconfined}
    volumeMounts:
    - {name: data, mountPath: /data, subPath: a/b, readOnly: true, mountPropagation: None}
    - {name: fast, mountPath: /dev/shm}
    startupProbe: {exec: {command: [redis-cli, ping]}, failureThreshold: 30}
    livenessProbe: {tcpSocket: {port: redis}, initialDelaySeconds: 5, periodSeconds: 3, timeoutSeconds: 2, terminationGracePeriodSeconds: 4}
    readinessProbe: {httpGet: {path: '/ok?x=1', port: 8080, scheme: HTTPS, httpHeaders: [{name: Host, value: a}]}, successThreshold: 2}
  - name: side
    image: tools:1
    imagePullPolicy: Always
    resources: {requests: {memory: 16Mi}}
    volumeMounts: [{name: scratch, mountPath: /tmp}, {name: dev, mountPath: /x}]
status: {}
`

func parse(t *testing.T, text string) *Manifest {
	t.Helper()
	m, err := ParseManifest([]byte(text))
	require.NoError(t, err)
	return m
}

// with puts lines into the spec and into the container of the minimal manifest.
func with(spec, container string) string {
	text := strings.Replace(minimal, "spec:\n", "spec:\n"+spec, 1)
	return text + container
}

func TestManifestWithEverythingSupported(t *testing.T) {
	m := parse(t, full)
	require.Equal(t, "my.redis", m.Name())
	require.Equal(t, "my-redis", m.Hostname())
	require.Equal(t, []Wanted{
		{Name: "fill", Init: true, Image: "tools:1"},
		{Name: "redis", Image: "redis:7", PullPolicy: "IfNotPresent"},
		{Name: "side", Image: "tools:1", PullPolicy: "Always"},
	}, m.Containers())
	require.Equal(t, "ams", m.NodeName())
	require.Equal(t, "OnFailure", m.RestartPolicy())
	require.Equal(t, 7*time.Second, m.GracePeriod())
	require.Equal(t, []Volume{
		{Name: "scratch", Kind: DiskVolume}, {Name: "fast", Kind: MemoryVolume, Size: 32 << 20},
		{Name: "data", Kind: NamedVolume, Claim: "redis-data"},
		{Name: "dev", Kind: HostVolume, Path: "/srv/x", Type: "DirectoryOrCreate"},
	}, m.Volumes())
	require.Equal(t, state.Needs{
		CPU: 300, Memory: 48 << 20, Selector: map[string]string{"zone": "a"},
		Pinned: "its volume dev is the node's own directory /srv/x", Volumes: []string{"redis-data"},
	}, m.Needs())
}

func TestManifestDefaults(t *testing.T) {
	m := parse(t, minimal)
	require.Equal(t, "Always", m.RestartPolicy())
	require.Equal(t, 30*time.Second, m.GracePeriod())
	require.Equal(t, "redis", m.Hostname())
	require.Equal(t, state.Needs{}, m.Needs())
	require.Equal(t, state.Needs{CPU: 2000}, parse(t, with("", "    resources: {limits: {cpu: 2}}\n")).Needs(), "requests default to the limits")
	require.Empty(t, m.Volumes())
	require.Equal(t, []Volume{{Name: "v", Kind: DiskVolume}}, parse(t, with("  volumes: [{name: v}]\n", "")).Volumes())
}

func TestManifestSurvivesJSON(t *testing.T) {
	for _, text := range []string{minimal, full, with("  hostname: h\n", "    resources: {limits: {memory: 1Gi}}\n")} {
		m := parse(t, text)
		data, err := json.Marshal(m)
		require.NoError(t, err)
		again := &Manifest{}
		require.NoError(t, json.Unmarshal(data, again), "%s", data)
		for _, same := range []*Manifest{again, parse(t, string(data))} {
			encoded, err := json.Marshal(same)
			require.NoError(t, err)
			require.JSONEq(t, string(data), string(encoded))
		}
	}
	require.Error(t, json.Unmarshal([]byte(`{"spec": 5}`), &Manifest{}))
}

func TestManifestOfTheDocumentationIsTaken(t *testing.T) {
	page, err := os.ReadFile("../../docs/pods.md")
	require.NoError(t, err)
	manifests := strings.Split(string(page), "```yaml\n")
	require.Greater(t, len(manifests), 1)
	for _, text := range manifests[1:] {
		text, _, _ = strings.Cut(text, "```")
		parse(t, text)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(full))
	f.Add([]byte(with("  bogus: 1\n", "    env: [{name: A, value: $(A)$$(}]\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		s := Spec{Manifest: m}
		for _, c := range m.Containers() {
			wanted := m.container(c.Name)
			_, values := s.environment(wanted, ImageConfig{})
			_, err := arguments(wanted, ImageConfig{Cmd: []string{"x"}}, values)
			require.NoError(t, err)
			resources(wanted, true)
			m.security(wanted)
			m.Probes(c.Name)
			require.NotNil(t, wanted)
		}
		s.hosts()
		m.sysctls()
		m.Needs()
		require.NotEmpty(t, m.Name())
		encoded, err := json.Marshal(m)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(encoded, &Manifest{}))
	})
}
