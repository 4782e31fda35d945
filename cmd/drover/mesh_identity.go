package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/transport"
)

// identity is where the identity of a node lies.
type identity struct {
	Name string `json:"name"`
	Dir  string `json:"dir"`
}

// initDirectory makes a mesh in a directory, with the identities of several nodes that are carried to them by hand.
func (c *cli) initDirectory(name, dir string, nodes []string) error {
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
}

func explainMesh(w io.Writer, name, dir string, nodes []string) error {
	var dirs, copies []string
	for _, n := range nodes {
		dirs = append(dirs, n+"/")
		copies = append(copies, fmt.Sprintf("  scp -pr %s root@%s:/etc/drover/identity", filepath.Join(dir, n), n))
	}
	_, err := fmt.Fprintf(w, `Made the mesh %s in %s:
  ca.key                the authority's key: whoever has it can admit nodes. A server that has it in its
                        identity directory can enrol hosts with drover mesh join
  ca.crt, gossip.key    the authority's certificate, and the key that gossip is encrypted with
  %-20s  identities, each valid for 90 days

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
		Use:     v.name + " NODE",
		Short:   v.short,
		Example: "  drover mesh " + v.name + " --dir mesh sin",
		Args:    cobra.ExactArgs(1),
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
