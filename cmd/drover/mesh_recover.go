package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/state/quorum"
)

// recovery is what drover mesh recover has found on a server, and whether it has made it the mesh's.
type recovery struct {
	Node      string     `json:"node"`
	Recovered bool       `json:"recovered"`
	Term      uint64     `json:"term"`  // of the newest entry
	Entry     uint64     `json:"entry"` // its index
	Written   *time.Time `json:"written,omitempty"`
	Servers   []string   `json:"servers"` // that vote
	Nodes     []string   `json:"nodes"`
	Pods      []string   `json:"pods"`
	Earlier   uint64     `json:"earlier_recoveries"`

	ago time.Duration
}

func (c *cli) meshRecover() *cobra.Command {
	var config string
	var yes bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make this server the mesh's only one, when most of the servers are lost for good",
		Long: `Make this server the mesh's only one, when most of the servers are lost for good. Without --yes it shows what
this server has of the mesh, and changes nothing.

Run it on one server that is left, with its agent stopped: on the one with the newest entry (the greatest term, then the
greatest index). It counts all that this server has, also what was not agreed yet. What the lost servers had agreed on
without it is lost. Pods run on meanwhile.

Never run it while a majority of the servers can be started again. Should lost servers come back after all, they must
reach the recovered mesh: they then give up what they have, and join it anew.`,
		Example: `  systemctl stop drover-agent
  drover mesh recover                        # look
  drover mesh recover --yes
  systemctl start drover-agent
  drover node rm ams                         # each server that is lost, and then new ones in their place`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			r, err := c.recoverMesh(cmd.Context(), config, yes)
			if err != nil {
				return err
			}
			if err := c.print(r, r.explain); err != nil || yes {
				return err
			}
			return api.Errorf(api.FailedPrecondition, recovering, "nothing was changed: it was not confirmed").
				WithCure("if no majority of " + strings.Join(r.Servers, ", ") + " can be started again, and no other server that is left has a newer entry: drover mesh recover --yes")
		},
	}
	cmd.Flags().StringVar(&config, "config", unitConfig, "the agent's configuration `file`")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

const recovering = "recovering the mesh"

func (c *cli) recoverMesh(ctx context.Context, file string, yes bool) (recovery, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return recovery{}, api.Errorf(api.FailedPrecondition, recovering, "%w", err)
	}
	settings, err := configs.Load(file)
	if err != nil {
		return recovery{}, err
	}
	if answers(ctx, settings.Socket) {
		return recovery{}, api.Errorf(api.FailedPrecondition, recovering, "the agent of this host runs").
			WithCure("is the majority of the servers really lost? (drover status) Then: systemctl stop drover-agent")
	}
	dir, log := placeOf(file, settings).quorumDir(), settings.Log.Logger(os.Stderr)
	remnant, err := quorum.Inspect(dir, log)
	if err == nil && yes {
		_, err = quorum.Recover(dir, settings.Node, log)
	}
	switch {
	case errors.Is(err, quorum.ErrNoLog):
		return recovery{}, api.Errorf(api.NotFound, recovering, "%w", err).WithCure("run it on a server of the mesh: drover node ls on any node names them")
	case err != nil:
		return recovery{}, api.Errorf(api.FailedPrecondition, recovering, "%w", err).WithCure("mend that, or recover the mesh from another server that is left")
	}
	return c.recoveryOf(settings.Node, remnant, yes), nil
}

// recoveryOf describes what a server had.
func (c *cli) recoveryOf(node string, r quorum.Remnant, done bool) recovery {
	out := recovery{
		Node: node, Recovered: done, Term: r.LastTerm, Entry: r.Entry, Servers: r.Servers,
		Nodes: []string{}, Pods: []string{}, Earlier: r.Era, ago: c.now().Sub(r.Newest),
	}
	if !r.Newest.IsZero() {
		written := r.Newest.UTC()
		out.Written = &written
	}
	if done {
		out.Servers = []string{node}
	}
	for _, n := range r.View.Nodes() {
		out.Nodes = append(out.Nodes, n.Name)
	}
	for _, p := range r.View.Pods() {
		out.Pods = append(out.Pods, p.Name)
	}
	return out
}

func (r recovery) explain(w io.Writer) error {
	written := "before the last snapshot"
	if r.Written != nil {
		written = fmt.Sprintf("%s (%v ago)", r.Written.Format("2006-01-02 15:04:05 UTC"), r.ago.Round(time.Second))
	}
	if !r.Recovered {
		fmt.Fprintf(w, "What %s has of the mesh:\n", r.Node)
	} else {
		fmt.Fprintf(w, "%s is the only server of the mesh now. What it had:\n", r.Node)
	}
	fmt.Fprintf(w, "  newest entry:  term %d, index %d\n", r.Term, r.Entry)
	fmt.Fprintf(w, "  written:       %s; what was agreed later, without %s, is lost\n", written, r.Node)
	fmt.Fprintf(w, "  servers:       %s\n", strings.Join(r.Servers, ", "))
	fmt.Fprintf(w, "  nodes:         %s\n", strings.Join(r.Nodes, ", "))
	_, err := fmt.Fprintf(w, "  pods:          %s\n", strings.Join(r.Pods, ", "))
	if err == nil && r.Recovered {
		_, err = fmt.Fprintln(w, "Start its agent: systemctl start drover-agent. Then remove the servers that are lost, and join others:\ndrover node rm NODE, drover mesh token create --server")
	}
	return err
}
