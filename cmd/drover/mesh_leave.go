package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
)

// left is what drover mesh leave has taken from a host.
type left struct {
	Node    string   `json:"node"` // "" if there was no configuration that could be read
	Removed []string `json:"removed"`
	Pods    []string `json:"pods"` // UIDs of pods of which something is still there
}

func (c *cli) meshLeave() *cobra.Command {
	var config string
	var force bool
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take from this host what makes it a node",
		Long: `Take from this host what makes it a node: its configuration, its identity and its copy of the mesh's log.
Images stay. Its agent must be stopped, and the mesh should be told, on another node, by "drover node rm":
it would wait for the host otherwise.`,
		Example: `  drover node drain fra                      # its pods move away
  systemctl disable --now drover-agent       # here
  drover node rm fra                         # on another node
  drover mesh leave                          # here`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			gone, err := leave(cmd.Context(), config, force)
			if err != nil {
				return err
			}
			return c.print(gone, gone.explain)
		},
	}
	cmd.Flags().StringVar(&config, "config", unitConfig, "the agent's configuration `file`")
	cmd.Flags().BoolVar(&force, "force", false, "also if pods of this node are still on the host: they are left to themselves")
	return cmd
}

func leave(ctx context.Context, file string, force bool) (left, error) {
	const what = "leaving the mesh"
	file, err := filepath.Abs(file)
	if err != nil {
		return left{}, api.Errorf(api.FailedPrecondition, what, "%w", err)
	}
	c := configs.Default()
	c.Identity, c.Socket = filepath.Join(filepath.Dir(file), "identity"), defaultSocket
	loaded, err := configs.Load(file)
	switch {
	case err == nil:
		c = loaded
	case !errors.Is(err, fs.ErrNotExist) && !force:
		return left{}, api.Errorf(api.FailedPrecondition, what, "the configuration, which says where all else is, can't be read: %w", err).
			WithCure("mend it; --force goes by the default directories")
	}
	if answers(ctx, c.Socket) {
		return left{}, api.Errorf(api.FailedPrecondition, what, "the agent of this host runs").
			WithCure("stop it: systemctl disable --now drover-agent\nthen on another node: drover node rm " + c.Node)
	}
	gone := left{Node: c.Node, Removed: []string{}, Pods: podsIn(c.StateDir)}
	if len(gone.Pods) > 0 && !force {
		return left{}, api.Errorf(api.FailedPrecondition, what, "pods of this node are on the host: %s", strings.Join(gone.Pods, ", ")).
			WithCure("start the agent again and move them away: drover node drain " + c.Node + "; --force leaves them to themselves")
	}
	drafts, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".joining-*")) // the pattern is well formed
	for _, path := range append(drafts, file, c.Identity, placeOf(file, c).quorumDir(), filepath.Join(c.StateDir, "moves"), filepath.Join(c.StateDir, "peers.json")) {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return left{}, meshError(what, err)
		}
		gone.Removed = append(gone.Removed, path)
	}
	if len(gone.Removed) == 0 {
		return left{}, api.Errorf(api.NotFound, what, "this host is no node: neither %s nor %s is there", file, c.Identity)
	}
	return gone, nil
}

// answers says whether an agent listens at a socket.
func answers(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := api.NewClient(socket)
	defer client.Close()
	_, err := client.GetStatus(ctx)
	return err == nil || api.AsError(err).Code != api.Unavailable
}

// podsIn returns the UIDs of the pods that an agent has something of.
func podsIn(stateDir string) []string {
	uids := []string{}
	entries, _ := os.ReadDir(filepath.Join(stateDir, "runtime", "pods")) // absent if there never was one
	for _, e := range entries {
		uids = append(uids, e.Name())
	}
	return uids
}

func (l left) explain(w io.Writer) error {
	fmt.Fprintln(w, "This host is no node any more. Removed:")
	for _, path := range l.Removed {
		fmt.Fprintln(w, "  "+path)
	}
	_, err := fmt.Fprintln(w, "If the mesh still knows it, on a node of the mesh: drover node rm "+l.Node)
	return err
}
