package pod

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBadManifests holds every kind of manifest that is turned away, with all that is said of it.
func TestBadManifests(t *testing.T) {
	const c = "spec.containers[0]."
	replaced := func(old, by string) string { return strings.Replace(minimal, old, by, 1) }
	volume := func(source string) string { return with("  volumes: [{name: v, "+source+"}]\n", "") }
	container := func(lines string) string { return with("", "    "+lines+"\n") }
	for name, test := range map[string]struct {
		manifest string
		want     []string // the problems, whole or their beginnings
	}{
		"nothing":         {"", []string{"a Pod is expected, a mapping with"}},
		"a list":          {"[]", []string{"a Pod is expected, a mapping with"}},
		"garbage":         {"a: b\n  c: d", []string{"line 2"}},
		"huge":            {strings.Repeat("#", maxManifest+1), []string{"the manifest has 1048577 bytes, at most 1048576 are read"}},
		"a key twice":     {minimal + "kind: Pod\n", []string{`line 10: key "kind" already set in map`}},
		"another kind":    {replaced("kind: Pod", "kind: Deployment"), []string{"apiVersion v1 and kind Pod are expected, not v1 Deployment"}},
		"another version": {replaced("apiVersion: v1", "apiVersion: v2"), []string{"apiVersion v1 and kind Pod are expected, not v2 Pod"}},
		"two documents":   {minimal + "---\n" + minimal, []string{"one Pod is expected, and there are more documents"}},
		"slips": {with("  bogus: 1\n", "    livenesProbe: {}\n"),
			[]string{`unknown field "spec.bogus"`, `unknown field "` + c + `livenesProbe"`}},
		"wrong type":   {container("env: 5"), []string{"cannot unmarshal number into Go struct field"}},
		"bad quantity": {container("resources: {limits: {cpu: lots}}"), []string{c + `resources.limits.cpu: "lots" is not a quantity such as 500m, 2, 64Mi or 1G`}},
		"endless quantities": {with("  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: '1e-999999999'}}]\n", "    resources: {limits: {cpu: 1e999999999}, requests: {memory: '"+strings.Repeat("9", 99)+"'}}\n"),
			[]string{c + `resources.limits.cpu: "1e999999999" is not a quantity`, c + `resources.requests.memory: "999`, `spec.volumes[0].emptyDir.sizeLimit: "1e-999999999" is not a quantity`}},
		"huge quantities": {with("  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 9E}}]\n", "    resources: {limits: {cpu: 1e9}, requests: {memory: 99999999999999999999}}\n"),
			[]string{"spec.volumes[0].emptyDir.sizeLimit: 9E is more than any node has", c + "resources.limits.cpu: 1G is more than any node has", c + "resources.requests.memory: "}},

		"bad name":           {replaced("{name: redis}", "{name: Re/dis}"), []string{"metadata.name: a lowercase RFC 1123 subdomain"}},
		"no name":            {replaced("{name: redis}", "{labels: {a: b}}"), []string{"metadata.name: a lowercase RFC 1123 subdomain"}},
		"another namespace":  {replaced("{name: redis}", "{name: a, namespace: prod}"), []string{"metadata.namespace: prod is not supported: the names of pods are unique in the whole mesh"}},
		"own annotation":     {replaced("{name: redis}", "{name: a, annotations: {drover.dev/failovr: x}}"), []string{"metadata.annotations.drover.dev/failovr: unknown: of those that begin with drover.dev/ there is drover.dev/failover"}},
		"own label":          {replaced("{name: redis}", "{name: a, labels: {drover.dev/site: x}}"), []string{"metadata.labels.drover.dev/site: unknown: no label that begins with drover.dev/"}},
		"failover as label":  {replaced("{name: redis}", "{name: a, labels: {drover.dev/failover: restart}}"), []string{"metadata.labels.drover.dev/failover: it is an annotation: put it into metadata.annotations"}},
		"bad failover":       {replaced("{name: redis}", "{name: a, annotations: {drover.dev/failover: Restart}}"), []string{`metadata.annotations.drover.dev/failover: "Restart" is none of restart`}},
		"no failover":        {replaced("{name: redis}", "{name: a, annotations: {drover.dev/failover: ''}}"), []string{`metadata.annotations.drover.dev/failover: "" is none of restart`}},
		"bad label":          {replaced("{name: redis}", "{name: a, labels: {a b: '*'}}"), []string{"metadata.labels.a b: name part", "metadata.labels.a b: a valid label"}},
		"bad selector":       {with("  nodeSelector: {zone: a b}\n", ""), []string{"spec.nodeSelector.zone: a valid label"}},
		"bad policy":         {with("  restartPolicy: Sometimes\n", ""), []string{`spec.restartPolicy: "Sometimes" is none of Always, OnFailure, Never`}},
		"negative grace":     {with("  terminationGracePeriodSeconds: -1\n", ""), []string{"spec.terminationGracePeriodSeconds: -1 is negative"}},
		"bad hostname":       {with("  hostname: a.b\n", ""), []string{"spec.hostname: must not contain dots"}},
		"subdomain":          {with("  subdomain: x\n", ""), []string{"spec.subdomain: not supported: no DNS would know it; see hostAliases"}},
		"affinity":           {with("  affinity: {nodeAffinity: {x: 1}}\n", ""), []string{`unknown field "spec.affinity.nodeAffinity.x"`, "spec.affinity: not supported: where a pod runs is said by nodeSelector or nodeName"}},
		"tolerations":        {with("  tolerations: [{operator: Exists}]\n", ""), []string{"spec.tolerations: not supported: nodes have no taints here; where a pod runs"}},
		"topology":           {with("  topologySpreadConstraints: [{maxSkew: 1}]\n", ""), []string{"spec.topologySpreadConstraints: not supported: where"}},
		"accounts":           {with("  serviceAccountName: a\n", ""), []string{"spec.serviceAccountName: not supported: there are no service accounts here"}},
		"runtime class":      {with("  runtimeClassName: gvisor\n", ""), []string{"spec.runtimeClassName: not supported: there are no classes of pods here"}},
		"pull secrets":       {with("  imagePullSecrets: [{name: a}]\n", ""), []string{"spec.imagePullSecrets: not supported: credentials are taken from the files of the node that pulls"}},
		"the host's":         {with("  hostNetwork: true\n  hostPID: true\n  hostIPC: true\n", ""), []string{"spec.hostIPC: true is not supported: shared memory", "spec.hostNetwork: true is not supported: a pod has", "spec.hostPID: true is not supported: processes of"}},
		"shared processes":   {with("  shareProcessNamespace: true\n", ""), []string{"spec.shareProcessNamespace: true is not supported: each container is dumped and restored with its own processes"}},
		"user namespace":     {with("  hostUsers: false\n", ""), []string{"spec.hostUsers: false is not supported: user namespaces"}},
		"another system":     {with("  os: {name: windows}\n", ""), []string{"spec.os.name: windows is not supported yet"}},
		"deadline":           {with("  activeDeadlineSeconds: 5\n", ""), []string{"spec.activeDeadlineSeconds: not supported yet"}},
		"ephemeral":          {with("  ephemeralContainers: [{name: a}]\n", ""), []string{"spec.ephemeralContainers: not supported yet"}},
		"pod-level limits":   {with("  resources: {limits: {cpu: 1}}\n", ""), []string{"spec.resources: not supported: limits and requests are those of its containers"}},
		"cluster DNS":        {with("  dnsPolicy: ClusterFirst\n", ""), []string{"spec.dnsPolicy: ClusterFirst is not supported: there is no cluster's DNS here"}},
		"DNS from nowhere":   {with("  dnsPolicy: None\n", ""), []string{"spec.dnsConfig.nameservers: required with dnsPolicy None"}},
		"too many servers":   {with("  dnsConfig: {nameservers: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]}\n", ""), []string{"spec.dnsConfig.nameservers: 4 are too many: a resolver asks the first 3"}},
		"bad servers":        {with("  dnsConfig: {nameservers: [dns.example.com], searches: ['a b'], options: [{name: \"x\\ny\"}]}\n", ""), []string{`spec.dnsConfig.nameservers[0]: "dns.example.com" is not an IP address`, "spec.dnsConfig.searches[0]: a lowercase", `spec.dnsConfig.options[0].name: "x\ny" is not one word`}},
		"bad aliases":        {with("  hostAliases: [{ip: here, hostnames: [\"a\\nb\"]}]\n", ""), []string{`spec.hostAliases[0].ip: "here" is not an IP address`, "spec.hostAliases[0].hostnames[0]: a lowercase"}},
		"no containers":      {"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}", []string{"spec.containers: at least one is required"}},
		"a name twice":       {with("  initContainers: [{name: redis, image: a}]\n", ""), []string{`spec.containers[0].name: "redis" is used twice`}},
		"no container name":  {replaced("- name: redis\n    image", "- image"), []string{"spec.containers[0].name: a lowercase RFC 1123 label"}},
		"sidecar":            {with("  initContainers: [{name: a, image: a, restartPolicy: Always}]\n", ""), []string{"spec.initContainers[0].restartPolicy: not supported: all containers follow the pod's restartPolicy"}},
		"probed init":        {with("  initContainers: [{name: a, image: a, livenessProbe: {exec: {command: [a]}}}]\n", ""), []string{"spec.initContainers[0].livenessProbe: not supported: an init container is over"}},
		"no image":           {replaced("    image: redis\n", ""), []string{c + "image: required"}},
		"bad pull policy":    {container("imagePullPolicy: Maybe"), []string{c + `imagePullPolicy: "Maybe" is none of Always, IfNotPresent, Never`}},
		"relative directory": {container("workingDir: data"), []string{c + `workingDir: "data" is not an absolute path`}},
		"terminal":           {container("tty: true"), []string{c + "tty: true is not supported yet"}},
		"hooks":              {container("lifecycle: {preStop: {exec: {command: [a]}}}"), []string{c + "lifecycle: not supported yet"}},

		"bad variable":      {container(`env: [{name: "1=2", value: x}]`), []string{c + "env[0].name: a valid environment variable name"}},
		"cluster variables": {container("envFrom: [{configMapRef: {name: a}}]"), []string{c + "envFrom: not supported: there is no API server here"}},
		"secret variable":   {container("env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b}}}]"), []string{c + "env[0].valueFrom.secretKeyRef: not supported: there is no API server here"}},
		"two values":        {container("env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"), []string{c + "env[0]: value and valueFrom exclude each other"}},
		"node's name":       {container("env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]"), []string{c + "env[0].valueFrom.fieldRef.fieldPath: spec.nodeName is not supported: it changes with the node"}},
		"unknown path":      {container("env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.x}}}]"), []string{c + `env[0].valueFrom.fieldRef.fieldPath: "spec.x" is not supported; these are: metadata.name`}},
		"unstated limit":    {container("env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]"), []string{c + `env[0].valueFrom.resourceFieldRef.resource: "limits.cpu" is not stated for that container`}},
		"host port":         {container("ports: [{containerPort: 1, hostPort: 2}]"), []string{c + "ports[0].hostPort: not supported: clients reach a pod at its own address, through any node"}},
		"bad port":          {container("ports: [{containerPort: 70000, protocol: tcp, name: A_b}]"), []string{c + "ports[0].containerPort: must be between 1 and 65535", c + `ports[0].protocol: "tcp" is none of TCP, UDP, SCTP`, c + "ports[0].name: must contain only"}},

		"request above limit": {container("resources: {limits: {cpu: 1}, requests: {cpu: 2}}"), []string{c + "resources.requests.cpu: 2 exceeds the limit 1"}},
		"zero limit":          {container("resources: {limits: {cpu: 0}, requests: {memory: -1}}"), []string{c + "resources.limits.cpu: 0 is not positive", c + "resources.requests.memory: -1 is negative"}},
		"thousandth of bytes": {container("resources: {limits: {memory: 512m}}"), []string{c + "resources.limits.memory: 512m is less than the 6 MiB that the start of a container takes"}},
		"GPU":                 {container("resources: {limits: {nvidia.com/gpu: 1}}"), []string{c + "resources.limits.nvidia.com/gpu: not supported yet"}},
		"disk space":          {container("resources: {requests: {ephemeral-storage: 1Gi}}"), []string{c + "resources.requests.ephemeral-storage: not supported: what is written to a disk is not limited here"}},

		"privileged":         {container("securityContext: {privileged: true}"), []string{c + "securityContext.privileged: true is not supported: it would hold on to its node, and could not be moved"}},
		"root and not root":  {with("  securityContext: {runAsNonRoot: true}\n", "    securityContext: {runAsUser: 0}\n"), []string{c + "securityContext.runAsUser: 0 is root, which runAsNonRoot forbids"}},
		"bad users":          {with("  securityContext: {runAsUser: -1, fsGroup: 9999999999, supplementalGroups: [-2]}\n", ""), []string{"spec.securityContext.runAsUser: must be between", "spec.securityContext.supplementalGroups[0]: must be", "spec.securityContext.fsGroup: must be"}},
		"all capabilities":   {container("securityContext: {capabilities: {add: [ALL]}}"), []string{c + "securityContext.capabilities.add[0]: ALL is not supported: what it means differs"}},
		"no such capability": {container("securityContext: {capabilities: {add: [NET_ADMN], drop: [CAP_CHWN]}}"), []string{c + `securityContext.capabilities.add[0]: there is no capability "NET_ADMN"`, c + `securityContext.capabilities.drop[0]: there is no capability "CAP_CHWN"`}},
		"escalation":         {container("securityContext: {allowPrivilegeEscalation: false, capabilities: {add: [SYS_ADMIN]}}"), []string{c + "securityContext.allowPrivilegeEscalation: false contradicts the capability SYS_ADMIN"}},
		"bare /proc":         {container("securityContext: {procMount: Unmasked}"), []string{c + "securityContext.procMount: Unmasked is not supported yet"}},
		"AppArmor, SELinux":  {container("securityContext: {appArmorProfile: {type: RuntimeDefault}, seLinuxOptions: {level: s0}}"), []string{c + "securityContext.appArmorProfile: not supported: AppArmor and SELinux are not", c + "securityContext.seLinuxOptions: not supported: AppArmor"}},
		"bad seccomp":        {with("  securityContext: {seccompProfile: {type: Some}}\n", "    securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../../etc/x}}\n"), []string{`spec.securityContext.seccompProfile.type: "Some" is none of RuntimeDefault, Unconfined, Localhost`, c + "securityContext.seccompProfile.localhostProfile: the path of a profile is required, without .."}},
		"unsafe sysctl":      {with("  securityContext: {sysctls: [{name: kernel.panic, value: '1'}]}\n", ""), []string{`spec.securityContext.sysctls[0].name: "kernel.panic" is not supported; these are: kernel.shm_rmid_forced, `}},
		"the mesh's sysctl":  {with("  securityContext: {sysctls: [{name: net.mptcp.enabled, value: '1'}]}\n", ""), []string{`spec.securityContext.sysctls[0].name: "net.mptcp.enabled" is not supported`}},

		"cluster volumes":   {with("  volumes: [{name: a, configMap: {name: x}}, {name: b, secret: {secretName: x}}, {name: d, projected: {sources: [{serviceAccountToken: {path: x}}]}}]\n", ""), []string{"spec.volumes[0].configMap: not supported: there is no API server", "spec.volumes[1].secret: not supported: there", "spec.volumes[2].projected: not supported: there"}},
		"network volume":    {volume("nfs: {server: a, path: /}"), []string{"spec.volumes[0].nfs: not supported yet"}},
		"two in one":        {volume("emptyDir: {}, hostPath: {path: /a}"), []string{"spec.volumes[0]: it is of more than one kind"}},
		"a volume twice":    {with("  volumes: [{name: a}, {name: a}]\n", ""), []string{`spec.volumes[1].name: "a" is used twice`}},
		"limit of a disk":   {volume("emptyDir: {sizeLimit: 1Gi}"), []string{"spec.volumes[0].emptyDir.sizeLimit: not supported: what is written to a disk is not limited here"}},
		"huge pages":        {volume("emptyDir: {medium: HugePages}"), []string{`spec.volumes[0].emptyDir.medium: "HugePages" is none of Memory`}},
		"bad host path":     {volume("hostPath: {path: /a/../b, type: BlockDevice}"), []string{`spec.volumes[0].hostPath.path: "/a/../b" is not an absolute path without ..`, `spec.volumes[0].hostPath.type: "BlockDevice" is none of DirectoryOrCreate, Directory,`}},
		"bad claim":         {volume("persistentVolumeClaim: {claimName: ../x}"), []string{"spec.volumes[0].persistentVolumeClaim.claimName: a lowercase"}},
		"no such volume":    {container("volumeMounts: [{name: a, mountPath: /a}]"), []string{c + `volumeMounts[0].name: there is no volume "a"`}},
		"bad mounts":        {with("  volumes: [{name: v}]\n", "    volumeMounts: [{name: v, mountPath: a}, {name: v, mountPath: /proc/x}, {name: v, mountPath: '/a:b'}, {name: v, mountPath: /./}]\n"), []string{c + `volumeMounts[0].mountPath: "a" is not an absolute path`, c + "volumeMounts[1].mountPath: /proc/x is the container's own", c + `volumeMounts[2].mountPath: "/a:b" holds a colon`, c + "volumeMounts[3].mountPath: / is the container's own"}},
		"a mount twice":     {with("  volumes: [{name: v}]\n", "    volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /a/}]\n"), []string{c + `volumeMounts[1].mountPath: "/a" is used twice`}},
		"out of the volume": {with("  volumes: [{name: v}]\n", "    volumeMounts: [{name: v, mountPath: /a, subPath: a/../../b}]\n"), []string{c + `volumeMounts[0].subPath: "a/../../b" leads out of the volume`}},
		"propagation":       {with("  volumes: [{name: v}]\n", "    volumeMounts: [{name: v, mountPath: /a, mountPropagation: Bidirectional, subPathExpr: $(A)}]\n"), []string{c + "volumeMounts[0].mountPropagation: Bidirectional is not supported: what is mounted later can't be moved", c + "volumeMounts[0].subPathExpr: not supported yet"}},
		"raw device":        {container("volumeDevices: [{name: a, devicePath: /dev/x}]"), []string{c + "volumeDevices: not supported: a device can't be moved to another node"}},

		"gRPC probe":       {container("livenessProbe: {grpc: {port: 1}}"), []string{c + "livenessProbe.grpc: not supported: use exec, httpGet or tcpSocket", c + "livenessProbe: exactly one of exec"}},
		"probe of nothing": {container("readinessProbe: {periodSeconds: 1}"), []string{c + "readinessProbe: exactly one of exec, httpGet and tcpSocket is required"}},
		"probes of two":    {container("livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}"), []string{c + "livenessProbe: exactly one of exec"}},
		"bad probe": {container(`livenessProbe: {httpGet: {port: web, scheme: ftp, path: "a b", httpHeaders: [{name: "a:b", value: x}]}, successThreshold: 2, periodSeconds: -1, terminationGracePeriodSeconds: 0}`), []string{
			c + "livenessProbe.periodSeconds: -1 is negative", c + "livenessProbe.successThreshold: 2 is not possible", c + "livenessProbe.terminationGracePeriodSeconds: 0 is not positive",
			c + `livenessProbe.httpGet.port: no port of this container is called "web"`, c + `livenessProbe.httpGet.scheme: "ftp" is none of HTTP, HTTPS`,
			c + `livenessProbe.httpGet.path: "a b" is no path of a URL`, c + "livenessProbe.httpGet.httpHeaders[0].name: a valid HTTP header"}},
		"readiness grace": {container("readinessProbe: {tcpSocket: {port: 0}, terminationGracePeriodSeconds: 5}"), []string{c + "readinessProbe.terminationGracePeriodSeconds: not supported yet", c + "readinessProbe.tcpSocket.port: must be between 1 and 65535"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseManifest([]byte(test.manifest))
			var all *ManifestError
			require.True(t, errors.As(err, &all), "%v", err)
			require.Len(t, all.Problems, len(test.want), "%v", err)
			for i, p := range all.Problems {
				if !strings.HasPrefix(p.String(), test.want[i]) && !(p.Field == "" && strings.Contains(p.Reason, test.want[i])) {
					t.Errorf("it says   %s\nand not   %s", p, test.want[i])
				}
			}
		})
	}
}
