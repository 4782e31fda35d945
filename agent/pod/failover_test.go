package pod

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/state"
)

// failing is a pod with a failover policy, and more in its spec.
func failing(spec string) string {
	annotated := strings.Replace(minimal, "{name: redis}", "{name: redis, annotations: {drover.dev/failover: restart}}", 1)
	return strings.Replace(annotated, "spec:\n", "spec:\n"+spec, 1)
}

func TestFailoverIsTheAnnotations(t *testing.T) {
	m, err := ParseManifest([]byte(failing("")))
	require.NoError(t, err)
	require.Equal(t, state.FailoverRestart, m.Failover())

	m, err = ParseManifest([]byte(minimal))
	require.NoError(t, err)
	require.Empty(t, m.Failover())
}

func TestAPodThatCannotLeaveItsNodeHasNoFailover(t *testing.T) {
	for _, c := range []struct{ name, spec, why string }{
		{"hostPath", "  volumes: [{name: dev, hostPath: {path: /srv/x}}]\n", "its volume dev is the node's own directory /srv/x"},
		{
			"seccomp profile of the node", "  securityContext: {seccompProfile: {type: Localhost, localhostProfile: a.json}}\n",
			"the seccomp profile of container redis is the node's own",
		},
		{
			"named volume", "  volumes: [{name: data, persistentVolumeClaim: {claimName: redis-data}}]\n",
			"what its volume redis-data holds is on one node only",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseManifest([]byte(failing(c.spec)))
			require.ErrorContains(t, err, "metadata.annotations.drover.dev/failover: the pod can't be started on another node: "+c.why)
			_, err = ParseManifest([]byte(strings.Replace(failing(c.spec), ", annotations: {drover.dev/failover: restart}", "", 1)))
			require.NoError(t, err, "without a policy")
		})
	}
	_, err := ParseManifest([]byte(failing("  volumes: [{name: scratch, emptyDir: {}}, {name: fast, emptyDir: {medium: Memory}}]\n  nodeName: fra\n")))
	require.NoError(t, err, "what ends with the pod, or only says where it begins, is no reason")
}
