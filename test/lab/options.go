package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/drover-mesh/drover/test/wan"
)

// Options say what a lab is to be.
type Options struct {
	Name         string          // default "lab"
	Sites        int             // sites with an agent, 1 to 16; default 3
	Conditions   wan.Conditions  // of every link
	Seed         uint64          // of all that is random in the WAN
	PodCIDR      netip.Prefix    // default 10.88.0.0/16
	Executable   string          // drover, or what runs the lab's hidden commands; default this program
	AgentCommand []string        // default Executable agent --config /etc/drover/agent.yaml
	Hosts        map[string]Host // what differs, by site
	Drills       bool            // agents stop at the points of drills, see DrillDir
	Bare         bool            // no site has an identity or a configuration, and no agent is started
	// Ready returns nil once a site's agent serves. Default: it answers on its socket, knows a
	// leader and sees all sites; with another AgentCommand: it runs.
	Ready   func(ctx context.Context, l *Lab, site string) error
	Timeout time.Duration // for all of it; default one minute
}

func (o *Options) complete() error {
	if o.Name == "" {
		o.Name = "lab"
	}
	if err := checkName(o.Name); err != nil {
		return err
	}
	if o.Sites == 0 {
		o.Sites = 3
	}
	if o.Sites < 1 || o.Sites > len(siteNames) {
		return fmt.Errorf("%d sites: want 1 to %d", o.Sites, len(siteNames))
	}
	if err := o.Conditions.Validate(); err != nil {
		return err
	}
	if err := o.checkHosts(); err != nil {
		return err
	}
	if !o.PodCIDR.IsValid() {
		o.PodCIDR = netip.MustParsePrefix("10.88.0.0/16")
	}
	if o.Executable == "" {
		path, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
		o.Executable = path
	}
	if o.Ready == nil {
		o.Ready = agentReady
		if o.AgentCommand != nil {
			o.Ready = agentRuns
		}
	}
	if o.AgentCommand == nil {
		o.AgentCommand = agentCommand(o.Executable)
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	return nil
}

// SiteNames are the names of the sites of a lab that has that many, at most 16.
func SiteNames(sites int) []string {
	return slices.Clone(siteNames[:max(0, min(sites, len(siteNames)))])
}

// checkHosts returns an error if a site can't be as it is wanted.
func (o *Options) checkHosts() error {
	names := append(SiteNames(o.Sites), ClientSite)
	for _, name := range slices.Sorted(maps.Keys(o.Hosts)) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no site %q: want one of %v", name, names)
		}
		if err := o.Hosts[name].check(); err != nil {
			return fmt.Errorf("site %s: %w", name, err)
		}
	}
	return nil
}

func (h Host) check() error {
	return errors.Join(checkClock(h.Clock), checkMask(h.CPUMask), checkDisk(h.Disk))
}

// agentCommand runs the agent as its systemd unit does.
func agentCommand(executable string) []string {
	return []string{executable, "agent", "--config", agentConfig}
}

func (o *Options) plan() plan {
	p := plan{
		Name: o.Name, Created: time.Now().UTC(), Executable: o.Executable, AgentCommand: o.AgentCommand,
		Conditions: o.Conditions, Seed: o.Seed, PodCIDR: o.PodCIDR, Bare: o.Bare, Drills: o.Drills,
	}
	for i := range o.Sites {
		p.Sites = append(p.Sites, newSite(siteNames[i], byte(i+1), true))
	}
	p.Sites = append(p.Sites, newSite(ClientSite, 250, false))
	for i := range p.Sites {
		p.Sites[i].Host = o.Hosts[p.Sites[i].Name]
	}
	return p
}

// newSite gives a site its addresses, 10.77.NUMBER.1 and fd00:77:NUMBER::1 with the number in
// hexadecimal. Labs don't share a network, so they all use the same ones.
func newSite(name string, number byte, agent bool) Site {
	return Site{
		Name: name, Agent: agent,
		Address:  netip.AddrFrom4([4]byte{10, 77, number, 1}),
		Address6: netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x77, 5: number, 15: 1}),
	}
}
