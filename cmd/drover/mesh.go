package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/transport"
)

func (c *cli) meshCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mesh", Short: "Make a mesh, and let hosts join and leave it"}
	cmd.AddCommand(c.meshInit(), c.meshToken(), c.meshJoin(), c.meshLeave(), c.meshRecover(),
		c.meshNode(meshVerb{
			name: "add", doing: "making the identity", do: transport.AddNode, file: ".",
			short: "Make the identity of one more node, in the directory of a mesh, to be carried there",
			done:  "The identity of %s is in %s, valid for 90 days. Copy it to the node.\n",
		}),
		c.meshNode(meshVerb{
			name: "renew", doing: "renewing the certificate", do: transport.RenewNode, file: "node.crt",
			short: "Give a node a new certificate, in the directory of a mesh; carry node.crt to it",
			done:  "The new certificate of %s is %s, valid for 90 days. Copy it to the node and restart the agent; pods run on.\n",
		}))
	return cmd
}

// meshError gives a failure of something that was done to the files of a mesh its class and its cure.
func meshError(what string, err error) error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return api.Errorf(api.AlreadyExists, what, "%w", err).WithCure("to add a node to a mesh that is there: drover mesh add NODE; to make another mesh choose another --dir")
	case errors.Is(err, fs.ErrNotExist):
		return api.Errorf(api.NotFound, what, "%w", err).WithCure("name the directory of the mesh with --dir. drover mesh init --nodes makes a mesh, drover mesh add a node of it")
	case errors.Is(err, fs.ErrPermission):
		return api.Errorf(api.FailedPrecondition, what, "%w", err).WithCure("run it as root")
	}
	return api.Errorf(api.InvalidArgument, what, "%w", err)
}
