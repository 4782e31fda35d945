package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/transport"
)

// joined is what drover mesh join has made of a host.
type joined struct {
	Mesh       string    `json:"mesh"`
	Node       string    `json:"node"`
	Site       string    `json:"site"`
	Address    string    `json:"address"`
	Server     bool      `json:"server"`
	AdmittedBy string    `json:"admitted_by"`
	Expires    time.Time `json:"certificate_expires"`
	Config     string    `json:"config"`
	Identity   string    `json:"identity"`
	Started    bool      `json:"started"`
	NodesAlive int       `json:"nodes_alive"` // 0 if it was not started
}

func (c *cli) meshJoin() *cobra.Command {
	var n newcomer
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "join TOKEN@HOST[:PORT]",
		Short: "Make this host a node of a mesh that is there",
		Long: `Make this host a node of a mesh, with a token that "drover mesh token create" has made on a node of it, and the
address of any node: looks whether the host can run pods, has itself admitted, makes configuration and
identity, starts the agent if systemd is there, and waits until the mesh sees it.

The host proves the mesh by the token before it says anything, and its own key never leaves it. If joining
fails nothing is left; only if it is not known whether the token was used, a file is, and the same command
goes on from there.`,
		Example: "  drover mesh join drover1-...@192.0.2.10:7400 --site frankfurt",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), interrupts()...)
			defer stop()
			err := c.join(ctx, &n, args[0], patience)
			var failed *transport.JoinError
			if err != nil && ctx.Err() != nil && !(errors.As(err, &failed) && failed.Unknown) {
				return errInterrupted
			}
			return err
		},
	}
	n.flags(cmd)
	cmd.Flags().DurationVar(&patience, "timeout", time.Minute, "how long to try to reach the mesh")
	return cmd
}

func (c *cli) join(ctx context.Context, n *newcomer, invitation string, patience time.Duration) error {
	what := "joining a mesh"
	token, host, err := splitInvitation(what, invitation)
	if err != nil {
		return err
	}
	what = "joining the mesh at " + host
	addr, err := resolve(ctx, what, host)
	if err != nil {
		return err
	}
	config, err := n.describe(c.machine, what, addr.Addr())
	if err != nil {
		return err
	}
	// What the mesh will say is in the place of it, so that all else is checked first.
	config.Role, config.Join = configs.Plain, []netip.AddrPort{addr}
	provisional, _, err := n.complete(what, config)
	if err != nil {
		return err
	}
	p := placeOf(n.config, config)
	if err := p.vacant(what); err != nil {
		return err
	}
	if err := n.checkHost(ctx, c.machine, what, provisional); err != nil {
		return err
	}
	done, err := p.begin(what)
	if err != nil {
		return err
	}
	defer done()
	admission, err := c.apply(ctx, p, transport.JoinConfig{Token: token, Addr: addr, Node: config.Node}, what, patience)
	if err != nil {
		return err
	}
	config, err = n.settle(p, config, admission, what)
	if err != nil {
		return err
	}
	made := joined{
		Mesh: admission.Mesh, Node: config.Node, Site: config.Site, Address: config.Address.String(), Server: config.Role == configs.Server,
		AdmittedBy: admission.By, Expires: admission.Expires, Config: n.config, Identity: config.Identity,
	}
	if made.Started, made.NodesAlive, err = n.start(ctx, c.machine, what, config); err != nil {
		return err
	}
	return c.print(made, func(w io.Writer) error { return made.explain(w, n) })
}

// splitInvitation splits TOKEN@HOST[:PORT].
func splitInvitation(what, invitation string) (transport.Token, string, error) {
	text, host, ok := strings.Cut(invitation, "@")
	if !ok || host == "" {
		return transport.Token{}, "", api.Errorf(api.InvalidArgument, what, "the argument is not TOKEN@HOST:PORT").
			WithCure("drover mesh token create, on a node of the mesh, prints the whole command")
	}
	token, err := transport.ParseToken(text)
	if err != nil {
		return transport.Token{}, "", api.Errorf(api.InvalidArgument, what, "the token can't be read: %w", err).
			WithCure("copy it once more from where drover mesh token create printed it")
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(defaultPort))
	}
	return token, host, nil
}

// resolve finds the IPv4 address of a host.
func resolve(ctx context.Context, what, host string) (netip.AddrPort, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return netip.AddrPort{}, api.Errorf(api.InvalidArgument, what, "%w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return netip.AddrPort{}, api.Errorf(api.InvalidArgument, what, "%q is no port", port)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
	if err != nil {
		return netip.AddrPort{}, api.Errorf(api.Unavailable, what, "finding its IPv4 address: %w", err).WithCure("give the IP address of a node of the mesh")
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(number)), nil
}

// apply has the host admitted. The draft, with the key, is kept if the mesh may have admitted it unheard.
func (c *cli) apply(ctx context.Context, p place, config transport.JoinConfig, what string, patience time.Duration) (*transport.Admission, error) {
	var err error
	if config.Key, err = p.key(); err != nil {
		p.abandon()
		return nil, meshError(what, err)
	}
	if !c.structured() {
		config.Waiting = func(why string) { fmt.Fprintln(c.err, "waiting: "+why) }
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	admission, err := transport.Join(ctx, config)
	var failed *transport.JoinError
	switch {
	case err == nil:
		return admission, nil
	case !errors.As(err, &failed):
		p.abandon()
		return nil, api.Errorf(api.Internal, what, "%w", err)
	case failed.Unknown:
		return nil, api.Errorf(api.Unavailable, what, "whether the mesh has admitted this host is not known: %w", failed).
			WithCure("run the same command again: it goes on from there")
	}
	p.abandon()
	return nil, api.Errorf(api.Code(failed.Code), what, "%s", failed.Why).WithCure(failed.Cure)
}

// settle writes configuration and identity.
func (n *newcomer) settle(p place, c configs.Config, a *transport.Admission, what string) (configs.Config, error) {
	c.Role = configs.Plain
	if a.Settings.Server {
		c.Role = configs.Server
	}
	c.Join, c.PodCIDR = a.Settings.Gossip, a.Settings.PodCIDR
	c.Overlay = configs.Overlay{VNI: a.Settings.OverlayVNI, Port: a.Settings.OverlayPort}
	again := func(err error) error {
		return api.Errorf(api.FailedPrecondition, what, "the mesh has admitted this host, but that can't be written down: %w", err).
			WithCure("mend that and run the same command again: it goes on from there")
	}
	c, file, err := n.complete(what, c)
	if err != nil {
		return c, again(err)
	}
	if err := p.fill(file, a.Write); err != nil {
		return c, again(err)
	}
	return c, nil
}

func (j joined) explain(w io.Writer, n *newcomer) error {
	role := "a plain node"
	if j.Server {
		role = "a server"
	}
	next := fmt.Sprintf("The agent runs, and sees %d nodes alive: drover node ls", j.NodesAlive)
	if !j.Started {
		next = "Start its agent:\n  " + n.howToStart()
	}
	_, err := fmt.Fprintf(w, `This host is node %s of the mesh %s, %s, at %s. Node %s admitted it.
  %-24s  its configuration
  %-24s  its keys

%s
`, j.Node, j.Mesh, role, j.Address, j.AdmittedBy, j.Config, j.Identity, next)
	return err
}
