package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/transport"
)

// Ports of an agent on its site's address.
const (
	quicPort   = 7400
	gossipPort = 7946
)

// maxRestarts is how often an agent may crash before Up gives up.
const maxRestarts = 3

// agentConfig is where an agent finds its configuration in its site.
const agentConfig = "/etc/drover/agent.yaml"

// drillDir is the directory of drills in the site's /etc/drover.
const drillDir = "drills"

// configure makes the directories of all sites and, unless they are bare, the mesh's identities and
// the agents' configurations.
func (l *Lab) configure() error {
	var names []string
	for _, s := range l.plan.Sites {
		subs := []string{"etc", "lib"}
		if l.plan.Drills {
			subs = append(subs, "etc/"+drillDir)
		}
		for _, sub := range subs {
			if err := os.MkdirAll(l.sitePath(s.Name, sub), 0o755); err != nil {
				return fmt.Errorf("making the directories of site %s: %w", s.Name, err)
			}
		}
		if s.Agent {
			names = append(names, s.Name)
		}
	}
	if l.plan.Bare {
		return nil
	}
	mesh := filepath.Join(l.dir, "mesh")
	if err := transport.InitMesh(mesh, l.plan.Name, names); err != nil {
		return fmt.Errorf("making the mesh's identities: %w", err)
	}
	for i, name := range names {
		if err := os.Rename(filepath.Join(mesh, name), l.sitePath(name, "etc", "identity")); err != nil {
			return fmt.Errorf("giving site %s its identity: %w", name, err)
		}
		config := l.agentYAML(i)
		if err := os.WriteFile(l.sitePath(name, "etc", "agent.yaml"), []byte(config), 0o600); err != nil {
			return fmt.Errorf("configuring site %s: %w", name, err)
		}
	}
	return nil
}

// agentYAML is the configuration file of the agent of the site with that index. The first three,
// or the only one or two, are the mesh's servers.
func (l *Lab) agentYAML(index int) string {
	sites := l.Sites()
	me := sites[index]
	var join, servers []string
	for i, s := range sites {
		if i < 3 {
			servers = append(servers, s.Name)
		}
		if i != index {
			join = append(join, fmt.Sprintf("%q", fmt.Sprintf("%s:%d", s.Address, gossipPort)))
		}
	}
	drill := ""
	if l.plan.Drills {
		drill = "drill: /etc/drover/" + drillDir + "\n"
	}
	return drill + fmt.Sprintf(`node: %s
site: %[1]s
address: %s:%d
gossip: %[2]s:%[4]d
join: [%s]
servers: [%s]
podCIDR: %s
identity: /etc/drover/identity
stateDir: /var/lib/drover
runDir: /run/drover
cgroupParent: /pods
log: {level: debug, format: text}
`, me.Name, me.Address, quicPort, gossipPort, strings.Join(join, ", "), strings.Join(servers, ", "), l.plan.PodCIDR)
}

// startAgents starts all agents and waits until each is ready.
func (l *Lab) startAgents(ctx context.Context, o Options, progress func(string)) error {
	for _, s := range l.Sites() {
		if err := l.KeepAgent(ctx, s.Name, true); err != nil {
			return err
		}
	}
	for _, s := range l.Sites() {
		if err := l.awaitAgent(ctx, o, s.Name); err != nil {
			return fmt.Errorf("the agent of site %s: %w; the end of its log:\n%s", s.Name, err, tail(l.AgentLog(s.Name)))
		}
		progress(fmt.Sprintf("agent %s is ready", s.Name))
	}
	return nil
}

func (l *Lab) awaitAgent(ctx context.Context, o Options, site string) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := o.Ready(attempt, l, site)
		cancel()
		if err == nil {
			return nil
		}
		status, statusErr := l.Agent(ctx, site)
		switch {
		case statusErr != nil:
			return errors.Join(err, statusErr)
		case status.Restarts >= maxRestarts:
			return fmt.Errorf("crashed %d times (%s)", status.Restarts, status.LastExit)
		}
		if late := pause(ctx, 50*time.Millisecond); late != nil {
			return fmt.Errorf("isn't ready: %w: %w", late, err)
		}
	}
}

// agentReady asks the agent whether it is part of a whole mesh.
func agentReady(ctx context.Context, l *Lab, site string) error {
	socket, err := l.Socket(site)
	if err != nil {
		return err
	}
	client := api.NewClient(socket)
	defer client.Close()
	status, err := client.GetStatus(ctx)
	if err != nil {
		return err
	}
	if status.Leader == "" {
		return errors.New("the mesh has no leader yet")
	}
	nodes, err := client.ListNodes(ctx)
	if err != nil {
		return err
	}
	if want := len(l.Sites()); len(nodes) < want {
		return fmt.Errorf("it sees %d of %d nodes", len(nodes), want)
	}
	return nil
}

func agentRuns(ctx context.Context, l *Lab, site string) error {
	status, err := l.Agent(ctx, site)
	if err == nil && !status.Running {
		err = errors.New("it doesn't run")
	}
	return err
}

// Path is where the host finds a path of a site's own file system, as long as the site lives.
func (l *Lab) Path(site, path string) (string, error) {
	init, err := l.init(site)
	if err != nil {
		return "", err
	}
	return filepath.Join(fmt.Sprintf("/proc/%d/root", init), path), nil
}

// Socket is where the host reaches the API of a site's agent.
func (l *Lab) Socket(site string) (string, error) {
	return l.Path(site, "/run/drover/agent.sock")
}

// tail returns the last lines of a log, for people.
func tail(path string) string {
	const most = 2000 // bytes
	f, err := os.Open(path)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, _ := io.ReadAll(io.LimitReader(f, most))
	return strings.TrimSpace(string(text))
}
