//go:build root

package volatile

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/transport"
)

// A node's identity is there whole or not at all, and so is the key with which a host asks for one: its token is used with it.
func TestIdentityOutlivesThePower(t *testing.T) {
	Losses{
		Random: 60, Seed: 3,
		Work: func(t *testing.T, dir string, promise func(string)) {
			_, key, err := ed25519.GenerateKey(nil)
			require.NoError(t, err)
			require.NoError(t, transport.WriteKey(filepath.Join(dir, "asks.key"), key))
			promise("key")
			require.NoError(t, transport.Found(filepath.Join(dir, "first"), "edge", "ams"))
			promise("first")
			require.NoError(t, transport.InitMesh(filepath.Join(dir, "mesh"), "edge", []string{"fra", "nyc"}))
			promise("mesh")
			require.NoError(t, transport.RenewNode(filepath.Join(dir, "mesh"), "fra"))
		},
		Check: func(t *testing.T, dir string, promised []string) {
			whole := func(what, identity string) {
				_, err := os.Stat(filepath.Join(dir, identity))
				if os.IsNotExist(err) && !slices.Contains(promised, what) {
					return
				}
				_, err = transport.LoadIdentity(filepath.Join(dir, identity))
				require.NoError(t, err)
			}
			if slices.Contains(promised, "key") {
				_, err := transport.ReadKey(filepath.Join(dir, "asks.key"))
				require.NoError(t, err)
			}
			whole("first", "first")
			whole("mesh", "mesh/fra")
			whole("mesh", "mesh/nyc")
		},
	}.Run(t)
}
