package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/test/lab"
	"github.com/drover-mesh/drover/test/wan"
	"github.com/drover-mesh/drover/test/workload"
)

// The mesh: three servers, a plain node, and a client outside. Each has a disk of its own, which can be filled.
const (
	sites    = 4
	diskSize = 512 << 20
)

// normal is the network between the sites.
var normal = wan.Conditions{Rate: 200e6, Delay: 5 * time.Millisecond}

// ground is the mesh on which faults are tried, one lab for all of them.
type ground struct {
	*lab.Lab
	out     io.Writer
	drover  string
	image   string // tar of the pod's root file system
	freezer string
	clean   map[string]lab.Footprint // of each site without a pod
	used    map[string]seen          // by it and its agent then

	mu      sync.Mutex
	clients map[string]*api.Client // by socket: a site that was booted has another one
}

func newGround(ctx context.Context, o options, out io.Writer) (*ground, error) {
	drover, err := filepath.Abs(o.drover)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(drover); err != nil {
		return nil, fmt.Errorf("%w: run make build", err)
	}
	g := &ground{out: out, drover: drover, freezer: freezerRoot(), clients: map[string]*api.Client{}}
	if g.image, err = workload.Image(ctx, g.say, "redis-server"); err != nil {
		return nil, err
	}
	if err := lab.Down(ctx, labName); err != nil { // of a run that was killed
		return nil, err
	}
	if err := g.up(ctx); err != nil {
		return nil, errors.Join(err, g.down(context.WithoutCancel(ctx)))
	}
	return g, nil
}

func (g *ground) say(line string) { fmt.Fprintln(g.out, "crash:", line) }

// up starts the lab, gives each site the image, and lets a pod go round once, so that all is there that the first one makes.
func (g *ground) up(ctx context.Context) error {
	begun := time.Now()
	hosts := map[string]lab.Host{}
	for _, name := range lab.SiteNames(sites) {
		hosts[name] = lab.Host{Disk: diskSize}
	}
	var err error
	g.Lab, err = lab.Up(ctx, lab.Options{Name: labName, Sites: sites, Executable: g.drover, Conditions: normal, Hosts: hosts, Drills: true}, func(string) {})
	if err != nil {
		return err
	}
	for _, s := range g.Sites() {
		if err := g.load(ctx, s.Name); err != nil {
			return fmt.Errorf("giving %s the image: %w", s.Name, err)
		}
	}
	first := g.Sites()[0].Name
	if _, err := g.client(first).RunPod(ctx, workload.Redis, first); err != nil {
		return err
	}
	for i := range g.Sites() {
		to := g.Sites()[(i+1)%sites].Name
		if _, err := g.client(g.Sites()[i].Name).Migrate(ctx, podName, to, silent{}); err != nil {
			return err
		}
	}
	if err := g.client(first).RemovePod(ctx, podName); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil { // the last of it is removed in the background
		return err
	}
	g.clean, g.used = map[string]lab.Footprint{}, map[string]seen{}
	for _, s := range g.Sites() {
		if g.clean[s.Name], err = g.Footprint(ctx, s.Name); err != nil {
			return err
		}
		if g.used[s.Name], err = g.look(ctx, s.Name); err != nil {
			return err
		}
	}
	g.say(fmt.Sprintf("a mesh of %d sites is up after %.0f s", sites, time.Since(begun).Seconds()))
	return nil
}

func (g *ground) load(ctx context.Context, site string) error {
	f, err := os.Open(g.image)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = g.client(site).LoadImage(ctx, api.LoadImage{Name: "redis", Node: site}, f)
	return err
}

func (g *ground) down(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for socket, c := range g.clients {
		c.Close()
		delete(g.clients, socket)
	}
	if g.Lab == nil {
		return nil
	}
	return g.Down(ctx)
}

// renew begins with a new lab, as what is left of this one could spoil what follows.
func (g *ground) renew(ctx context.Context) error {
	g.say("beginning with a new mesh")
	if err := g.down(ctx); err != nil {
		return err
	}
	return g.up(ctx)
}

// client asks the agent of a site, whichever runs there now. One of a site that is off answers nothing.
func (g *ground) client(site string) *api.Client {
	socket, err := g.Socket(site)
	if err != nil {
		socket = "/nonexistent/" + site
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := g.clients[socket]
	if !ok {
		c = api.NewClient(socket)
		g.clients[socket] = c
	}
	return c
}

// leader is who leads the mesh, as most see it who answer.
func (g *ground) leader(ctx context.Context) (string, error) {
	votes, most := map[string]int{}, ""
	for _, s := range g.Sites() {
		status, err := g.status(ctx, s.Name)
		if err != nil || status.Leader == "" {
			continue
		}
		if votes[status.Leader]++; votes[status.Leader] > votes[most] {
			most = status.Leader
		}
	}
	if most == "" {
		return "", errors.New("nobody knows a leader")
	}
	return most, nil
}

func (g *ground) status(ctx context.Context, site string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return g.client(site).GetStatus(ctx)
}

// whole returns an error unless every agent knows a leader and sees all others alive.
func (g *ground) whole(ctx context.Context) error {
	for _, s := range g.Sites() {
		status, err := g.status(ctx, s.Name)
		if err != nil {
			return err
		}
		if status.Leader == "" || status.NodesAlive != sites {
			return fmt.Errorf("%s sees leader %q and %d nodes: %s", s.Name, status.Leader, status.NodesAlive, strings.Join(status.Problems, "; "))
		}
	}
	return nil
}

// healLinks makes all links what they were.
func (g *ground) healLinks(ctx context.Context) error {
	links, err := g.WAN().Links(ctx)
	if err != nil {
		return err
	}
	c, cut, none := normal, false, 0.0
	for _, l := range links {
		if l.Conditions.Cut || l.Conditions.Corrupt > 0 {
			err = errors.Join(err, g.WAN().SetOneWay(ctx, l.From, l.To, wan.Change{Delay: &c.Delay, Rate: &c.Rate, Cut: &cut, Corrupt: &none}))
		}
	}
	return err
}

// leaks returns what sites have that they hadn't without a pod.
func (g *ground) leaks(ctx context.Context) (all []string, err error) {
	var looking sync.WaitGroup
	var mu sync.Mutex
	for _, s := range g.Sites() {
		looking.Go(func() {
			now, lookErr := g.Footprint(ctx, s.Name)
			uses, usesErr := g.look(ctx, s.Name)
			mu.Lock()
			defer mu.Unlock()
			if err = errors.Join(err, lookErr, usesErr); err != nil {
				return
			}
			for _, thing := range append(now.Beyond(g.clean[s.Name]), uses.beyond(g.used[s.Name])...) {
				all = append(all, s.Name+": "+thing)
			}
		})
	}
	looking.Wait()
	return all, err
}

// keepLogs copies the agents' logs of a case that failed to where the lab's end doesn't reach them.
func (g *ground) keepLogs(dir string, r result) {
	if dir == "" {
		return
	}
	dir = filepath.Join(dir, strings.ReplaceAll(r.Name, " ", ""))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		g.say(err.Error())
		return
	}
	for _, s := range g.Sites() {
		text, err := os.ReadFile(g.AgentLog(s.Name))
		if err == nil {
			text = append(text[:0:0], text[min(int64(len(text)), r.logs[s.Name]):]...)
			err = os.WriteFile(filepath.Join(dir, s.Name+".log"), text, 0o600)
		}
		if err != nil {
			g.say(err.Error())
		}
	}
}

// until waits for something that other processes do, and returns why it has not come.
func until(ctx context.Context, limit time.Duration, done func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := done(ctx)
		if err == nil {
			return nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("after %s: %w", limit, err)
		}
	}
}

// pause waits, or returns why not.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// silent is a progress that nobody watches.
type silent struct{}

func (silent) Started(api.Move) {}
func (silent) Event(api.Event)  {}
