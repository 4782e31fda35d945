package pod

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestControllersThatLimitsNeed(t *testing.T) {
	for resources, want := range map[string][]string{
		"":                                 {},
		"limits: {cpu: 500m, memory: 1Gi}": {"cpu", "memory"},
		"requests: {cpu: 100m}":            {"cpu"},
		"requests: {memory: 1Gi}":          {}, // nothing is set for it
	} {
		m, err := ParseManifest([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: a, image: a, command: [a], resources: {" + resources + "}}\n"))
		require.NoError(t, err)
		assert.Equal(t, want, m.controllers(), resources)
	}
	v1 := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(v1, "cpu"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(v1, "cpu", "cgroup.procs"), nil, 0o600))
	assert.True(t, hasController(v1, "cpu"))
	assert.False(t, hasController(v1, "memory"))
}
