package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/transport"
)

func (c *cli) meshCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mesh", Short: "Make a mesh and the identities of its nodes"}
	cmd.AddCommand(c.meshInit(),
		c.meshNode(meshVerb{
			name: "add", doing: "making the identity", do: transport.AddNode, file: ".",
			short: "Make the identity of one more node",
			done:  "The identity of %s is in %s, valid for 90 days. Copy it to the node.\n",
		}),
		c.meshNode(meshVerb{
			name: "renew", doing: "renewing the certificate", do: transport.RenewNode, file: "node.crt",
			short: "Give a node a new certificate, valid for 90 days; carry node.crt to it",
			done:  "The new certificate of %s is %s, valid for 90 days. Copy it to the node and restart the agent; pods run on.\n",
		}))
	return cmd
}

// identity is where the identity of a node lies.
type identity struct {
	Name string `json:"name"`
	Dir  string `json:"dir"`
}

func (c *cli) meshInit() *cobra.Command {
	var dir, name string
	var nodes []string
	cmd := &cobra.Command{
		Use:     "init [NODE...]",
		Short:   "Make a mesh: its certificate authority, its gossip key and the identities of its nodes",
		Example: "  drover mesh init --dir mesh ams fra nyc",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			nodes = append(nodes, args...)
			if len(nodes) == 0 {
				return api.Errorf(api.InvalidArgument, "making a mesh", "no nodes are named").WithCure("for example: drover mesh init ams fra nyc")
			}
			if err := transport.InitMesh(dir, name, nodes); err != nil {
				return meshError("making the mesh "+name, err)
			}
			made := struct {
				Mesh  string     `json:"mesh"`
				Dir   string     `json:"dir"`
				Nodes []identity `json:"nodes"`
			}{Mesh: name, Dir: dir}
			for _, n := range nodes {
				made.Nodes = append(made.Nodes, identity{n, filepath.Join(dir, n)})
			}
			return c.print(made, func(w io.Writer) error { return explainMesh(w, name, dir, nodes) })
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "mesh", "`directory` to make it in")
	cmd.Flags().StringVar(&name, "name", "drover", "`name` of the mesh")
	cmd.Flags().StringSliceVar(&nodes, "nodes", nil, "`names` of the nodes, with commas; or give them as arguments")
	return cmd
}

func explainMesh(w io.Writer, name, dir string, nodes []string) error {
	var dirs, copies []string
	for _, n := range nodes {
		dirs = append(dirs, n+"/")
		copies = append(copies, fmt.Sprintf("  scp -pr %s root@%s:/etc/drover/identity", filepath.Join(dir, n), n))
	}
	_, err := fmt.Fprintf(w, `Made the mesh %s in %s:
  ca.key                the authority's key: whoever has it can admit nodes. Keep it off the nodes
  ca.crt, gossip.key    the authority's certificate, and the key that gossip is encrypted with
  %-20s  identities, each valid for 90 days: drover mesh renew

Copy each identity to its node, to the directory that identity names in the agent's configuration:
%s
`, name, dir, strings.Join(dirs, " "), strings.Join(copies, "\n"))
	return err
}

// meshVerb is something that is done to the identity of one node in the directory of a mesh.
type meshVerb struct {
	name, short string
	doing       string // for errors
	done        string // format, with the node and the file
	file        string // of the identity's directory, that is made
	do          func(dir, node string) error
}

// meshNode is the command of a verb.
func (c *cli) meshNode(v meshVerb) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   v.name + " NODE",
		Short: v.short,
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			if err := v.do(dir, args[0]); err != nil {
				return meshError(v.doing+" of "+args[0], err)
			}
			made := identity{args[0], filepath.Join(dir, args[0])}
			return c.print(made, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, v.done, made.Name, filepath.Join(made.Dir, v.file))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "mesh", "`directory` of the mesh, with its ca.key")
	return cmd
}

func meshError(what string, err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return api.Errorf(api.AlreadyExists, what, "%w", err).WithCure("to add a node to a mesh that is there: drover mesh add NODE; to make another mesh choose another --dir")
	case errors.Is(err, fs.ErrNotExist):
		return api.Errorf(api.NotFound, what, "%w", err).WithCure("name the directory of the mesh with --dir. drover mesh init makes a mesh, drover mesh add a node of it")
	case errors.Is(err, fs.ErrPermission):
		return api.Errorf(api.FailedPrecondition, what, "%w", err)
	}
	return api.Errorf(api.InvalidArgument, what, "%w", err)
}
