//go:build root

package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/transport"
)

// A node with a certificate of another mesh does not get in, not even if it has come by the gossip key.
func TestNodeOfAnotherMeshStaysOutside(t *testing.T) {
	for name, withKey := range map[string]bool{"with its own gossip key": false, "with a stolen gossip key": true} {
		t.Run(name, func(t *testing.T) {
			m := begin(t)
			known := m.known(t)
			other := t.TempDir()
			require.NoError(t, transport.InitMesh(other, "another", []string{"stranger"}))
			if withKey {
				key, err := m.Path("ams", "/etc/drover/identity/gossip.key")
				require.NoError(t, err)
				text, err := os.ReadFile(key)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(other, "stranger", "gossip.key"), text, 0o600))
			}
			log := m.strangersLog(t, filepath.Join(other, "stranger"))

			eventually(t, "the stranger says what is wrong", func() error {
				text, err := os.ReadFile(log)
				if err == nil && !strings.Contains(string(text), wrongWith(withKey)) {
					err = errors.New("it says: " + string(text))
				}
				return err
			})
			eventually(t, "its status says that it is alone", func() error {
				stdout, stderr, _ := m.drover(t, lab.ClientSite, "--socket", "/run/stranger/agent.sock", "status")
				if !strings.Contains(stdout, "the mesh has no leader") {
					return errors.New(stdout + stderr)
				}
				return nil
			})
			for site, c := range m.clients {
				nodes, err := c.ListNodes(t.Context())
				require.NoError(t, err)
				require.Len(t, nodes, 3, site)
			}
			require.Equal(t, known, m.known(t))
			m.awaitWhole(t)
		})
	}
}

// wrongWith is what the stranger's log must speak of.
func wrongWith(key bool) string {
	if key {
		return "certificate"
	}
	return "key"
}

// strangersLog runs an agent with that identity on the outside host until the test ends, and returns the path of its log.
func (m *mesh) strangersLog(t *testing.T, identity string) string {
	t.Helper()
	home, err := m.Path(lab.ClientSite, "/run/stranger")
	require.NoError(t, err)
	require.NoError(t, os.CopyFS(filepath.Join(home, "identity"), os.DirFS(identity)))
	require.NoError(t, os.Chmod(filepath.Join(home, "identity", "node.key"), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(home, "identity", "gossip.key"), 0o600))
	config := `node: stranger
site: elsewhere
address: 10.77.250.1:7400
gossip: 10.77.250.1:7946
join: ["10.77.1.1:7946", "10.77.2.1:7946"]
servers: [ams, fra, nyc]
podCIDR: 10.88.0.0/16
identity: /run/stranger/identity
stateDir: /run/stranger/state
runDir: /run/stranger
cgroupParent: /pods
log: {level: debug, format: text}
`
	require.NoError(t, os.WriteFile(filepath.Join(home, "agent.yaml"), []byte(config), 0o600))
	path := filepath.Join(home, "log")
	log, err := os.Create(path)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := m.Exec(ctx, lab.ClientSite, "drover", "agent", "--config", "/run/stranger/agent.yaml")
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // by its SIGTERM
		require.NoError(t, log.Close())
		require.NoError(t, os.RemoveAll(home))
	})
	return path
}
