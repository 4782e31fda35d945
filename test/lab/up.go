package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/wan"
)

// Options say what a lab is to be.
type Options struct {
	Name         string         // default "lab"
	Sites        int            // sites with an agent, 1 to 16; default 3
	Conditions   wan.Conditions // of every link
	Seed         uint64         // of the WAN's random losses
	PodCIDR      netip.Prefix   // default 10.88.0.0/16
	Executable   string         // drover, or what runs the lab's hidden commands; default this program
	AgentCommand []string       // default Executable agent --config /etc/drover/agent.yaml
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
		o.AgentCommand = []string{o.Executable, "agent", "--config", "/etc/drover/agent.yaml"}
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	return nil
}

func (o *Options) plan() plan {
	p := plan{
		Name: o.Name, Created: time.Now().UTC(), Executable: o.Executable, AgentCommand: o.AgentCommand,
		Conditions: o.Conditions, Seed: o.Seed, PodCIDR: o.PodCIDR,
	}
	for i := range o.Sites {
		p.Sites = append(p.Sites, newSite(siteNames[i], byte(i+1), true))
	}
	p.Sites = append(p.Sites, newSite(ClientSite, 250, false))
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

// Up starts a lab and returns when it serves, telling its progress in lines. A lab of that name that
// is up already is returned as it is; one that an interrupted Up left behind is cleaned away first.
// When Up fails or ctx ends, it leaves nothing.
func Up(ctx context.Context, o Options, progress func(string)) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab makes namespaces and devices: run this as root")
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("it took more than %v", o.Timeout))
	defer cancel()
	dir := filepath.Join(stateRoot, o.Name)
	lock, err := lockDir(ctx, dir, true)
	if err != nil {
		return nil, fmt.Errorf("lab %q: %w", o.Name, err)
	}
	defer lock.Close()

	switch l, err := openDir(dir); {
	case err == nil && l.plan.Complete:
		if err := l.whole(); err != nil {
			return nil, fmt.Errorf("%w; run drover lab down --name %s first", err, o.Name)
		}
		progress(fmt.Sprintf("lab %s is up already", o.Name))
		return l, nil
	case err == nil || !errors.Is(err, ErrNotUp):
		progress("cleaning up after an interrupted drover lab up")
		if err := destroy(ctx, o.Name, nil); err != nil {
			return nil, err
		}
		lock.Close() // of the directory that is gone
		if lock, err = lockDir(ctx, dir, true); err != nil {
			return nil, fmt.Errorf("lab %q: %w", o.Name, err)
		}
		defer lock.Close()
	}

	l := &Lab{plan: o.plan(), dir: dir}
	if err := l.build(ctx, o, progress); err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		progress("taking down what was started")
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("lab %q didn't come up: %w", o.Name, err), destroy(down, o.Name, l.children))
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context, o Options, progress func(string)) error {
	if err := l.save(); err != nil {
		return err
	}
	if err := l.configure(); err != nil {
		return err
	}
	for _, s := range l.plan.Sites {
		if err := makeCgroup(filepath.Join(l.cgroup(s.Name), "init")); err != nil {
			return err
		}
		if err := l.startSite(s.Name); err != nil {
			return err
		}
	}
	for _, s := range l.plan.Sites {
		if err := l.await(ctx, s.Name, "init.sock", "init.log"); err != nil {
			return fmt.Errorf("site %s: %w", s.Name, err)
		}
		progress(fmt.Sprintf("site %s is there: %s", s.Name, s.Address))
	}
	if err := l.startRouter(); err != nil {
		return err
	}
	if err := l.await(ctx, "", "wan.sock", "wan.log"); err != nil {
		return fmt.Errorf("WAN router: %w", err)
	}
	progress(fmt.Sprintf("the WAN is there: %v, %v one way", l.plan.Conditions.Rate, l.plan.Conditions.Delay))
	if err := l.startAgents(ctx, o, progress); err != nil {
		return err
	}
	l.plan.Complete = true
	return l.save()
}

// startSite starts a site's init in namespaces of its own.
func (l *Lab) startSite(site string) error {
	cmd := exec.Command(l.plan.Executable, "lab", commandSiteInit, "--dir", l.dir, "--site", site)
	cmd.Env = environment(l.plan, site)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS,
	}
	if err := l.detach(cmd, l.sitePath(site, "init.log")); err != nil {
		return fmt.Errorf("starting site %s: %w", site, err)
	}
	return nil
}

func (l *Lab) startRouter() error {
	cmd := exec.Command(l.plan.Executable, "lab", commandRouter, "--dir", l.dir)
	cmd.Env = environment(l.plan, "")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := l.detach(cmd, filepath.Join(l.dir, "wan.log")); err != nil {
		return fmt.Errorf("starting the WAN router: %w", err)
	}
	return nil
}

// detach starts a process that outlives this one and writes to the log.
func (l *Lab) detach(cmd *exec.Cmd, log string) error {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", f, f
	if err := cmd.Start(); err != nil {
		return err
	}
	l.children = append(l.children, cmd)
	return nil
}

// await waits for a socket that the process publishes when it is ready. A process that dies before
// is an error with the end of its log.
func (l *Lab) await(ctx context.Context, site, socket, log string) error {
	dir := l.dir
	if site != "" {
		dir = l.sitePath(site)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, socket)); err == nil {
			return nil
		}
		alive, err := l.alive(site)
		if err != nil {
			return err
		}
		if !alive {
			return fmt.Errorf("its process died:\n%s", tail(filepath.Join(dir, log)))
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for its process: %w:\n%s", err, tail(filepath.Join(dir, log)))
		}
	}
}

// alive says whether a site's init, or with no site the router, lives.
func (l *Lab) alive(site string) (bool, error) {
	found, err := processes(l.dir)
	for _, p := range found {
		if p.site == site {
			return true, nil
		}
	}
	return false, err
}

// whole returns an error that says what of the lab has died.
func (l *Lab) whole() error {
	found, err := processes(l.dir)
	if err != nil {
		return err
	}
	lives := map[string]bool{}
	for _, p := range found {
		lives[p.site] = true
	}
	if !lives[""] {
		return fmt.Errorf("lab %q is broken: its WAN router has died", l.plan.Name)
	}
	for _, s := range l.plan.Sites {
		if !lives[s.Name] {
			return fmt.Errorf("lab %q is broken: site %s has died", l.plan.Name, s.Name)
		}
	}
	return nil
}
