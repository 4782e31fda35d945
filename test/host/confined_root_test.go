//go:build root

package host

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
)

// confined says again and again what it is and may do, in one line, and how often it has.
const confined = `
apiVersion: v1
kind: Pod
metadata: {name: confined}
spec:
  hostname: inside
  hostAliases: [{ip: 192.0.2.1, hostnames: [away]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53]}
  securityContext:
    supplementalGroups: [4002]
    fsGroup: 4003
    sysctls: [{name: net.ipv4.tcp_keepalive_time, value: "77"}, {name: kernel.shmmni, value: "99"}]
  volumes:
  - {name: disk}
  - {name: fast, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
  containers:
  - name: main
    image: nginx
    command: [sh, -c]
    args:
    - |
      exec 9>>/part/open 2>&1
      echo first > /fast/file
      n=0
      while :; do
        n=$((n+1)); echo x >&9
        while read -r key value; do case $key in CapBnd:|NoNewPrivs:|Seccomp:) facts="$facts $key$value";; esac; done < /proc/self/status
        (: > /x) && facts="$facts rootwritable"
        (: > /ro/x) && facts="$facts rowritable"
        (: > /disk/y) && facts="$facts diskwritable"
        facts="$facts $(id -u) $(id -G | tr ' ' ,) $(uname -n) $(cat /fast/file) $(stat -f -c %T:%b /fast) $(cat /proc/sys/net/ipv4/tcp_keepalive_time /proc/sys/kernel/shmmni | tr '\n' ,)"
        facts="$facts $(cat /etc/hosts /etc/resolv.conf | tail -n 3 | tr '\n\t ' ,)"
        echo "$n is$facts" > /dev/stdout
        facts=
        sleep 0.1
      done
    resources: {limits: {cpu: 250m, memory: 64Mi}}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts:
    - {name: disk, mountPath: /disk}
    - {name: disk, mountPath: /ro, readOnly: true}
    - {name: disk, mountPath: /var/run/part, subPath: a/b}
    - {name: disk, mountPath: /part, subPath: a/b}
    - {name: fast, mountPath: /fast}
`

// What a pod is and may do is the same at every site: users, capabilities, system call filters, read-only files, volumes,
// sysctls and the files that name hosts.
func TestConfinedPodStaysSo(t *testing.T) {
	m := begin(t)
	require.NoError(t, m.load(t.Context(), "ams", "nginx", m.images["nginx"]))
	pod := m.run(t, "ams", []byte(confined))
	seen := 0
	// next waits for a line that the pod has written since, and returns what it says.
	next := func() string {
		var facts string
		eventually(t, "the pod says what it is", func() error {
			var log bytes.Buffer
			if err := m.clients["ams"].PodLogs(t.Context(), "confined", api.LogOptions{}, api.LinesTo{W: &log}); err != nil {
				return err
			}
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			n, last := 0, lines[len(lines)-1]
			if _, err := fmt.Sscanf(last, "%d is", &n); err != nil || n <= seen {
				return fmt.Errorf("it said: %s", last)
			}
			seen, facts = n, strings.SplitN(last, " is ", 2)[1]
			return nil
		})
		return facts
	}
	want := "CapBnd:0000000000000000 NoNewPrivs:1 Seccomp:2 diskwritable 0 0,4002,4003 inside first tmpfs:2048 77,99, " +
		pod.Address + ",inside,192.0.2.1,away,nameserver,192.0.2.53,"
	require.Equal(t, want, next())
	for _, to := range []string{"fra", "nyc", "ams"} {
		_, err := m.migrate(t.Context(), t, "ams", "confined", to)
		require.NoError(t, err)
		m.awaitSettled(t, "confined")
		require.Equal(t, want, next(), "at %s", to)
		require.Equal(t, want, next(), "at %s, and it goes on", to)
	}
}
