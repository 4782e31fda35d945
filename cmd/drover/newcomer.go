package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/doctor"
	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/transport"
)

// defaultPort is that of QUIC.
const defaultPort = 7400

// startPatience is how long an agent may take to start and to be seen by its mesh.
const startPatience = time.Minute

// newcomer is a host that is to become a node, as its operator describes it.
type newcomer struct {
	config  string
	node    string
	site    string
	address string
	labels  map[string]string
	state   string
	run     string
	noStart bool
	noCheck bool
}

func (n *newcomer) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&n.node, "node", "", "`name` of this node, unique in the mesh (default: the host's name)")
	f.StringVar(&n.site, "site", "", "`name` of where it stands; nodes may share a site (default: the node's name)")
	f.StringVar(&n.address, "address", "", "`IP:PORT` that peers reach, UDP (default: the IP of the way there, port 7400)")
	f.StringToStringVar(&n.labels, "label", nil, "`NAME=TEXT` that manifests may ask for in nodeSelector; may be repeated")
	f.StringVar(&n.config, "config", unitConfig, "configuration `file` to make; the identity goes beside it")
	f.StringVar(&n.state, "state-dir", configs.Default().StateDir, "`directory` for images and the pods' files, on a disk with room")
	f.StringVar(&n.run, "run-dir", configs.Default().RunDir, "`directory` for sockets and moving pods' memory, a tmpfs")
	f.BoolVar(&n.noStart, "no-start", false, "don't start the agent")
	f.BoolVar(&n.noCheck, "no-check", false, "don't look first whether pods can run on this host")
}

// describe returns the configuration, complete but for what the mesh decides. towards is where the other nodes are.
func (n *newcomer) describe(m machine, what string, towards netip.Addr) (configs.Config, error) {
	c := configs.Default()
	if n.node == "" {
		name, err := m.Hostname()
		if err != nil {
			return c, api.Errorf(api.FailedPrecondition, what, "this host has no name: %w", err).WithCure("name the node with --node")
		}
		n.node, _, _ = strings.Cut(strings.ToLower(name), ".")
	}
	if err := transport.CheckNode(n.node); err != nil {
		return c, api.Errorf(api.InvalidArgument, what, "%w", err).WithCure("name the node with --node")
	}
	c.Node, c.Site, c.Labels, c.StateDir, c.RunDir = n.node, n.site, n.labels, n.state, n.run
	if c.Site == "" {
		c.Site = c.Node
	}
	if err := transport.CheckNode(c.Site); err != nil {
		return c, api.Errorf(api.InvalidArgument, what, "--site: %w", err)
	}
	var err error
	if c.Address, err = n.reachable(m, towards); err != nil {
		return c, api.Errorf(api.InvalidArgument, what, "%w", err).WithCure("give the address that other nodes reach with --address, such as --address 192.0.2.10:7400")
	}
	if n.config, err = filepath.Abs(n.config); err != nil {
		return c, api.Errorf(api.FailedPrecondition, what, "%w", err)
	}
	c.Identity = filepath.Join(filepath.Dir(n.config), "identity")
	return c, nil
}

func (n *newcomer) reachable(m machine, towards netip.Addr) (netip.AddrPort, error) {
	if n.address == "" {
		ip, err := m.AddressTo(towards)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("which address of this host others reach can't be told: %w", err)
		}
		return netip.AddrPortFrom(ip, defaultPort), nil
	}
	if ip, err := netip.ParseAddr(n.address); err == nil {
		return netip.AddrPortFrom(ip, defaultPort), nil
	}
	addr, err := netip.ParseAddrPort(n.address)
	if err != nil {
		return addr, fmt.Errorf("--address %q is no IP address and port", n.address)
	}
	return addr, nil
}

// complete is the configuration as the agent will read it, with what is derived; or what is wrong with it.
func (n *newcomer) complete(what string, c configs.Config) (configs.Config, []byte, error) {
	file := c.Format()
	read, err := configs.Parse(filepath.Base(n.config), file)
	var wrong *configs.Error
	if errors.As(err, &wrong) {
		e := &api.Error{Code: api.InvalidArgument, What: what}
		for _, p := range wrong.Problems {
			e.Violations = append(e.Violations, api.Violation{Field: p.Field, Why: strings.TrimPrefix(p.Why, p.Field+": ")})
		}
		return c, nil, e
	}
	if err != nil {
		return c, nil, api.Errorf(api.InvalidArgument, what, "%w", err)
	}
	header := "# Made by drover. Every field: docs/configuration.md\n"
	return read, append([]byte(header), file...), nil
}

// checkHost makes sure that the agent will be able to run, before anything is changed.
func (n *newcomer) checkHost(ctx context.Context, m machine, what string, c configs.Config) error {
	if err := m.Listen(c); err != nil {
		return api.Errorf(api.FailedPrecondition, what, "the agent could not listen on this host: %w", err).
			WithCure("--address names an IP address of this host and a free UDP port; see also: ss -lnup")
	}
	if n.noCheck {
		return nil
	}
	report := m.Examine(ctx, c)
	if report.Ready {
		return nil
	}
	e := &api.Error{
		Code: api.FailedPrecondition, What: what, Why: "pods can't run on this host yet",
		Cure: "drover doctor says more; --no-check makes a node of the host all the same",
	}
	for _, f := range report.Findings {
		if f.Level == doctor.Fail {
			why := f.Found
			if f.Cure != "" {
				why += "; cure: " + f.Cure
			}
			e.Violations = append(e.Violations, api.Violation{Field: f.Check, Why: why})
		}
	}
	return e
}

// start starts the agent and waits until the mesh sees the node. started is false if it is left to the operator.
func (n *newcomer) start(ctx context.Context, m machine, what string, c configs.Config) (started bool, alive int, err error) {
	if n.noStart {
		return false, 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	switch err := m.StartAgent(ctx, n.config); {
	case errors.Is(err, errNoSupervisor):
		return false, 0, nil
	case err != nil:
		return false, 0, api.Errorf(api.FailedPrecondition, what, "the host is a node, but its agent doesn't start: %w", err).WithCure("journalctl -u drover-agent says why")
	}
	alive, err = awaitMesh(ctx, c)
	if err != nil {
		return true, 0, api.Errorf(api.Unavailable, what, "the host is a node and its agent runs, but it doesn't find the mesh: %w", err).
			WithCure("drover status and journalctl -u drover-agent say more. Every node must reach every other on the ports that docs/install.md names")
	}
	return true, alive, nil
}

// awaitMesh waits until the agent of this host is seen by a mesh that has a leader, and returns how many nodes are alive.
func awaitMesh(ctx context.Context, c configs.Config) (alive int, err error) {
	client := api.NewClient(c.Socket)
	defer client.Close()
	tick := time.NewTicker(200 * time.Millisecond) // the API tells no news of this kind
	defer tick.Stop()
	for {
		var status api.Status
		status, err = client.GetStatus(ctx)
		switch {
		case err == nil && status.Leader == "":
			err = errors.New("it knows no leader")
		case err == nil:
			var known bool
			if known, err = registered(ctx, client, c.Node); known {
				return status.NodesAlive, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-tick.C:
		}
	}
}

func registered(ctx context.Context, client *api.Client, node string) (bool, error) {
	nodes, err := client.ListNodes(ctx)
	if err != nil {
		return false, err
	}
	for _, n := range nodes {
		if n.Name == node && n.State == api.NodeAlive {
			return true, nil
		}
	}
	return false, errors.New("the mesh has not registered it yet")
}

// howToStart is what the operator types where nothing starts the agent for them.
func (n *newcomer) howToStart() string {
	if n.config == unitConfig {
		return "systemctl enable --now drover-agent\n  or, without systemd: drover agent"
	}
	return "drover agent --config " + n.config
}
