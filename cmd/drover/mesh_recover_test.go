package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/state"
	"github.com/drover-mesh/drover/state/quorum"
)

// aServer makes the directory of a node what it is after the node was the only server of a mesh for a while.
func (h *host) aServer(t *testing.T, node string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(h.config()), 0o755))
	require.NoError(t, os.WriteFile(h.config(), []byte("node: "+node+"\naddress: 10.77.1.1:7400\nrole: server\nservers: [nyc]\nlog: {level: error}\nstateDir: "+h.stateDir()+
		"\nrunDir: "+filepath.Join(h.dir, "run")+"\nsocket: "+filepath.Join(h.dir, "none.sock")+"\n"), 0o600))
	nobody := errors.New("nobody is there")
	q, err := quorum.Open(t.Context(), quorum.Config{
		Node: node, Dir: filepath.Join(h.stateDir(), "raft"), Server: true, Bootstrap: []quorum.Server{{Name: node}}, Log: slog.New(slog.DiscardHandler),
		Dial: func(context.Context, string, quorum.Kind) (net.Conn, error) { return nil, nobody },
		Listen: func(quorum.Kind) net.Listener {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			return l
		},
		Forward: func(context.Context, string, []byte) ([]byte, error) { return nil, nobody },
	})
	require.NoError(t, err)
	for _, c := range []state.Command{
		state.SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), ID: "m"},
		state.RegisterNode{Node: state.Node{Name: node, Site: "s", Server: true}},
	} {
		r, err := q.Propose(t.Context(), c)
		require.NoError(t, err)
		require.True(t, r.OK, r.Reason)
	}
	require.NoError(t, q.Close())
}

func TestMeshRecover(t *testing.T) {
	h := newHost(t)
	h.aServer(t, "nyc")
	run := func(args ...string) (*call, int) {
		return drover(t, filepath.Join(h.dir, "none.sock"), append([]string{"mesh", "recover", "--config", h.config()}, args...), func(c *cli) { c.now = time.Now })
	}
	c, code := run()
	require.Equal(t, exitCode(api.Errorf(api.FailedPrecondition, "", "")), code, c.stderr.String())
	assert.Contains(t, c.stdout.String(), "What nyc has of the mesh:\n  newest entry:  term 2, index ")
	assert.Contains(t, c.stdout.String(), "s ago); what was agreed later, without nyc, is lost\n  servers:       nyc\n  nodes:         nyc\n")
	assert.Contains(t, c.stderr.String(), "nothing was changed")
	assert.Contains(t, c.stderr.String(), "drover mesh recover --yes")

	for earlier := range 2 {
		c, code = run("--yes", "-o", "json")
		require.Equal(t, exitOK, code, c.stderr.String())
		var got recovery
		require.NoError(t, json.Unmarshal(c.stdout.Bytes(), &got))
		assert.Equal(t, recovery{
			Node: "nyc", Recovered: true, Term: 2, Entry: got.Entry, Written: got.Written,
			Servers: []string{"nyc"}, Nodes: []string{"nyc"}, Pods: []string{}, Earlier: uint64(earlier),
		}, got)
	}
	c, code = run("--yes")
	require.Equal(t, exitOK, code)
	assert.Contains(t, c.stdout.String(), "nyc is the only server of the mesh now")
}

func TestMeshRecoverRefuses(t *testing.T) {
	h := newHost(t)
	h.aServer(t, "nyc")
	require.NoError(t, os.RemoveAll(h.stateDir()))
	c, code := drover(t, filepath.Join(h.dir, "none.sock"), []string{"mesh", "recover", "--config", h.config(), "--yes"})
	require.Equal(t, exitCode(api.Errorf(api.NotFound, "", "")), code, c.stderr.String())
	assert.Contains(t, c.stderr.String(), "there is no log of a mesh")
	assert.NoDirExists(t, h.stateDir())
}
