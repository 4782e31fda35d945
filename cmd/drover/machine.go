package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/drover-mesh/drover/agent/doctor"
	"github.com/drover-mesh/drover/configs"
)

// machine is what making a node of a host asks of the host.
type machine interface {
	Hostname() (string, error)
	// AddressTo returns the address from which the host would send to another, or the only one that it has.
	AddressTo(netip.Addr) (netip.Addr, error)
	// Listen tries whether the agent can listen where c says.
	Listen(c configs.Config) error
	// Examine looks for what the host lacks.
	Examine(ctx context.Context, c configs.Config) doctor.Report
	// StartAgent starts the agent of that configuration, now and at each boot, if the host has a supervisor that knows
	// it; errNoSupervisor otherwise.
	StartAgent(ctx context.Context, config string) error
}

// errNoSupervisor says that nothing on the host could start the agent.
var errNoSupervisor = errors.New("systemd doesn't run here, or doesn't know the unit " + agentUnit)

// agentUnit is configs/systemd's, which reads unitConfig.
const (
	agentUnit  = "drover-agent.service"
	unitConfig = "/etc/drover/agent.yaml"
)

// realMachine is the host that drover runs on.
type realMachine struct{}

func (realMachine) Hostname() (string, error) { return os.Hostname() }

func (realMachine) AddressTo(to netip.Addr) (netip.Addr, error) {
	// To connect a UDP socket sends nothing: the kernel looks for a route and picks the source.
	conn, err := net.Dial("udp4", netip.AddrPortFrom(to, 9).String())
	if errors.Is(err, syscall.ENETUNREACH) {
		return onlyAddress()
	}
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("a local address of type %T", conn.LocalAddr())
	}
	return local.AddrPort().Addr().Unmap(), nil
}

// onlyAddress is the IPv4 address of a host that has one, on a network without a way out.
func onlyAddress() (netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	var found []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			found = append(found, p.Addr())
		}
	}
	if len(found) != 1 {
		return netip.Addr{}, fmt.Errorf("it has no default route, and %d addresses: %v", len(found), found)
	}
	return found[0], nil
}

func (realMachine) Listen(c configs.Config) error {
	for _, addr := range []netip.AddrPort{c.Address, c.Gossip} {
		socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return err
		}
		_ = socket.Close()
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(c.Gossip))
	if err != nil {
		return err
	}
	return listener.Close()
}

func (realMachine) Examine(ctx context.Context, c configs.Config) doctor.Report {
	return doctor.Examine(ctx, doctor.Real{}, doctor.Config{StateDir: c.StateDir, RunDir: c.RunDir})
}

func (realMachine) StartAgent(ctx context.Context, config string) error {
	// sd_booted(3): this directory is there if systemd is the init system.
	if info, err := os.Lstat("/run/systemd/system"); err != nil || !info.IsDir() || config != unitConfig {
		return errNoSupervisor
	}
	if exec.CommandContext(ctx, "systemctl", "cat", agentUnit).Run() != nil {
		return errNoSupervisor
	}
	out, err := exec.CommandContext(ctx, "systemctl", "enable", "--now", agentUnit).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl enable --now %s: %w: %s", agentUnit, err, strings.TrimSpace(string(bytes.ToValidUTF8(out, nil))))
	}
	return nil
}
