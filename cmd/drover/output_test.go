package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/api/apitest"
)

func TestYAMLSaysWhatJSONSays(t *testing.T) {
	socket := apitest.Serve(t, fake(), nil)
	for name, args := range map[string][]string{
		"pod-ls":        {"pod", "ls"},
		"pod-get":       {"pod", "get", "redis"},
		"status":        {"status"},
		"image-inspect": {"image", "inspect", "redis:7"},
		"migrate":       {"migrate", "redis", "--to", "fra"},
		"node-ls":       {"node", "ls"},
	} {
		t.Run(name, func(t *testing.T) {
			c, code := drover(t, socket, append(args, "-o", "yaml"), func(c *cli) { c.width = columns(80) })
			require.Equal(t, exitOK, code, &c.stderr)
			same, err := yaml.YAMLToJSON(c.stdout.Bytes())
			require.NoError(t, err, &c.stdout)
			want, err := os.ReadFile(filepath.Join("testdata", name+".json.golden"))
			require.NoError(t, err)
			assert.JSONEq(t, string(want), string(same))
		})
	}
}

func TestYAML(t *testing.T) {
	b := fake()
	socket := apitest.Serve(t, b, nil)
	for name, args := range map[string][]string{"pod-ls": {"pod", "ls"}, "pod-logs": {"pod", "logs", "job", "-f"}, "migrate": {"migrate", "redis", "--to", "fra"}} {
		c, code := drover(t, socket, append(args, "-o", "yaml"))
		require.Equal(t, exitOK, code, &c.stderr)
		golden(t, name+".yaml", c.stdout.String())
	}
	b.Err = api.Errorf(api.NotFound, "looking for pod x", "the mesh has no such pod").WithCure("see drover pod ls")
	c, code := drover(t, socket, []string{"pod", "rm", "x", "-o", "yaml"})
	require.Equal(t, exitNotFound, code)
	golden(t, "failure-not-found.yaml", c.stderr.String())
}

func TestUnknownFormatNamesAll(t *testing.T) {
	for _, args := range [][]string{{"pod", "ls"}, {"version"}, {"lab", "ls"}, {"doctor"}, {"migrate", "redis", "--to", "fra"}} {
		c, code := drover(t, "/no/such/socket", append(args, "-o", "xml"))
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, c.stderr.String(), `--output "xml" is none of table, wide, json, yaml`, args)
	}
}
