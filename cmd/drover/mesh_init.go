package main

import (
	"fmt"
	"io"
	"net/netip"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/transport"
)

// anywhere is an address that no network has (RFC 5737): the way there is the default route.
var anywhere = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// founded is what drover mesh init has made on a host.
type founded struct {
	Mesh     string `json:"mesh"`
	Node     string `json:"node"`
	Site     string `json:"site"`
	Address  string `json:"address"`
	PodCIDR  string `json:"pod_cidr"`
	Config   string `json:"config"`
	Identity string `json:"identity"`
	Started  bool   `json:"started"`
}

func (c *cli) meshInit() *cobra.Command {
	var n newcomer
	var dir, podCIDR string
	var nodes []string
	cmd := &cobra.Command{
		Use:   "init [NAME]",
		Short: "Make a mesh, with this host as its first node",
		Long: `Make a mesh called NAME (default: drover), with this host as its first node and server: its configuration,
its identity, and the authority that admits other hosts. Then start its agent, if systemd is there.

With --nodes it makes instead, in a directory, the identities of several nodes that are to begin a mesh
together; they are carried to the nodes by hand.`,
		Example: `  drover mesh init prod --node ams --site amsterdam --address 192.0.2.10:7400
  drover mesh init                         # the host's own name and address
  drover mesh init prod --nodes ams,fra,nyc --dir mesh`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			name := "drover"
			if len(args) > 0 {
				name = args[0]
			}
			if len(nodes) > 0 {
				return c.initDirectory(name, dir, nodes)
			}
			if cmd.Flags().Changed("dir") {
				return api.Errorf(api.InvalidArgument, "making the mesh "+name, "--dir is for --nodes, which names the nodes whose identities are made there")
			}
			return c.initHost(cmd, &n, name, podCIDR)
		},
	}
	n.flags(cmd)
	cmd.Flags().StringVar(&podCIDR, "pod-cidr", configs.Default().PodCIDR.String(), "`network` of the pods' addresses, /8 to /28; it can't be changed later")
	cmd.Flags().StringVar(&dir, "dir", "mesh", "with --nodes: `directory` to make the mesh in")
	cmd.Flags().StringSliceVar(&nodes, "nodes", nil, "`names` of nodes, with commas, whose identities are carried to them by hand")
	return cmd
}

// initHost makes this host the first node of a mesh.
func (c *cli) initHost(cmd *cobra.Command, n *newcomer, name, podCIDR string) error {
	what := "making the mesh " + name
	ctx, stop := signal.NotifyContext(cmd.Context(), interrupts()...)
	defer stop()
	config, err := n.describe(c.machine, what, anywhere)
	if err != nil {
		return err
	}
	config.Servers = []string{config.Node}
	if config.PodCIDR, err = netip.ParsePrefix(podCIDR); err != nil {
		return api.Errorf(api.InvalidArgument, what, "--pod-cidr %q is no network such as 10.88.0.0/16", podCIDR)
	}
	config, file, err := n.complete(what, config)
	if err != nil {
		return err
	}
	p := placeOf(n.config, config)
	if err := p.vacant(what); err != nil {
		return err
	}
	if err := n.checkHost(ctx, c.machine, what, config); err != nil {
		return err
	}
	done, err := p.begin(what)
	if err != nil {
		return err
	}
	defer done()
	if err := p.fill(file, func(dir string) error { return transport.Found(dir, name, config.Node) }); err != nil {
		p.abandon()
		return meshError(what, err)
	}
	made := founded{
		Mesh: name, Node: config.Node, Site: config.Site, Address: config.Address.String(), PodCIDR: config.PodCIDR.String(),
		Config: n.config, Identity: config.Identity,
	}
	if made.Started, _, err = n.start(ctx, c.machine, what, config); err != nil {
		return err
	}
	return c.print(made, func(w io.Writer) error { return made.explain(w, n) })
}

func (f founded) explain(w io.Writer, n *newcomer) error {
	next := "The agent runs: drover status"
	if !f.Started {
		next = "Start its agent:\n  " + n.howToStart()
	}
	_, err := fmt.Fprintf(w, `Made the mesh %s. This host is its first node, %s, at %s, and a server.
  %-24s  its configuration
  %-24s  its keys. ca.key among them admits nodes: keep a copy in a safe place

%s

Let other hosts join: this prints what to run there
  drover mesh token create             for a plain node
  drover mesh token create --server    for a server; a mesh should have three, at three sites
`, f.Mesh, f.Node, f.Address, f.Config, f.Identity, next)
	return err
}
