//go:build hosts

package hosts

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// join makes a mesh on the first host, and has the second join it.
func (w *world) join(t *testing.T) {
	must(t, w.h1, "drover mesh init --address "+w.h1.address()+":7400")
	w.enrol(t, w.h2)
	w.awaitMesh(t)
}

// enrol makes a host a node of the first one's mesh.
func (w *world) enrol(t *testing.T, g *guest) {
	t.Helper()
	token := ask[struct{ Token string }](t, w.h1, "drover mesh token create --expires 10m --node "+g.name)
	must(t, g, "drover mesh join "+token.Token+"@"+w.h1.address())
	require.Equal(t, "enabled active", must(t, g, "echo $(systemctl is-enabled drover-agent) $(systemctl is-active drover-agent)"))
}
