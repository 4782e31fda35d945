package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIdentitiesInADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mesh")
	c, code := drover(t, "", []string{"mesh", "init", "--dir", dir, "--nodes", "ams,fra", "--nodes", "nyc"})
	require.Equal(t, exitOK, code, &c.stderr)
	golden(t, "mesh-init-nodes.table", strings.ReplaceAll(c.stdout.String(), dir, "DIR"))
	for _, f := range []string{"ca.key", "ams/node.key", "fra/ca.crt", "nyc/gossip.key"} {
		assert.FileExists(t, filepath.Join(dir, f))
	}
	assert.NoFileExists(t, filepath.Join(dir, "ams/ca.key"))
	c, code = drover(t, "", []string{"mesh", "add", "--dir", dir, "gru", "-o", "json"})
	require.Equal(t, exitOK, code, &c.stderr)
	assert.JSONEq(t, fmt.Sprintf(`{"name":"gru","dir":%q}`, filepath.Join(dir, "gru")), c.stdout.String())
	_, code = drover(t, "", []string{"mesh", "renew", "--dir", filepath.Join(dir, "none"), "gru"})
	assert.Equal(t, exitNotFound, code)
}

func TestIdentitiesAreNotOverwritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mesh")
	mesh := func(args ...string) (out string, code int) {
		c, code := drover(t, "", append(append([]string{"mesh"}, args...), "--dir", dir))
		return c.stdout.String() + c.stderr.String(), code
	}
	_, code := mesh("init", "prod", "--nodes", "ams")
	require.Equal(t, exitOK, code)
	out, code := mesh("init", "prod", "--nodes", "fra")
	assert.Equal(t, exitRefused, code)
	assert.Contains(t, out, "drover mesh add NODE")
	out, code = mesh("add", "fra")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, "The identity of fra is in "+dir+"/fra, valid for 90 days")
	out, code = mesh("renew", "fra")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, "The new certificate of fra is "+dir+"/fra/node.crt")
	out, code = mesh("renew", "nyc")
	assert.Equal(t, exitNotFound, code)
	assert.Contains(t, out, "renewing the certificate of nyc")
}
