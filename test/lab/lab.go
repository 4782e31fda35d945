// Package lab runs a whole mesh on one machine: each site is an emulated host with its own network,
// mount, UTS and PID namespace, its own /run and state directory, and a real agent in it; an outside
// host stands beside them; an emulated WAN (package wan) joins them all.
//
// A lab has a name and lives in /var/lib/drover-lab/NAME. Everything it consists of can be found
// again from that name alone: its processes by their command lines, its cgroups by their paths, and
// all else dies with those. So Down leaves nothing, whatever crashed before.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/drover-mesh/drover/test/wan"
)

// stateRoot holds a directory a lab, and doesn't exist while there is no lab.
const stateRoot = "/var/lib/drover-lab"

// ClientSite is the name of the outside host: on the WAN, but without an agent.
const ClientSite = "client"

// environmentKey marks every process of a lab with the lab's name.
const environmentKey = "DROVER_LAB"

// ErrNotUp is returned when there is no lab of that name.
var ErrNotUp = errors.New("no such lab")

// siteNames are given to sites in this order.
var siteNames = []string{"ams", "fra", "nyc", "sin", "syd", "gru", "jnb", "bom", "nrt", "lax", "waw", "mad", "dub", "yyz", "icn", "scl"}

// validName leaves room for the name in a unix socket's path, and is fit for a mesh's name.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

// Site is one emulated host.
type Site struct {
	Name     string     `json:"name"`
	Address  netip.Addr `json:"address"`
	Address6 netip.Addr `json:"address6"`
	Agent    bool       `json:"agent"` // false for the outside host
	Host
}

// Host is what tells a site from the machine that the lab runs on. The zero Host doesn't differ.
type Host struct {
	Clock   time.Duration `json:"clock_ns,omitempty"`   // what its monotonic and boot clocks are ahead of the machine's
	CPUMask []string      `json:"cpu_mask,omitempty"`   // flags that its /proc/cpuinfo lacks; its processes can use them all the same
	Disk    int64         `json:"disk_bytes,omitempty"` // size of the file system of its /var/lib/drover; 0 is the machine's own
}

// plan is what lab.json says: all that can't be seen from the running lab. It is written before the
// first process starts.
type plan struct {
	Name         string         `json:"name"`
	Created      time.Time      `json:"created"`
	Complete     bool           `json:"complete"` // Up came to its end
	Executable   string         `json:"executable"`
	AgentCommand []string       `json:"agent_command"`
	Conditions   wan.Conditions `json:"conditions"`
	Seed         uint64         `json:"seed"`
	PodCIDR      netip.Prefix   `json:"pod_cidr"`
	Bare         bool           `json:"bare"`
	Drills       bool           `json:"drills,omitempty"`
	Sites        []Site         `json:"sites"`
}

// Lab is a handle of a lab; several processes may have one at once.
type Lab struct {
	plan     plan
	dir      string
	children []*exec.Cmd // what this process itself started, to be reaped by Down
}

// Open returns the lab of that name, or an error that wraps ErrNotUp.
func Open(name string) (*Lab, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return openDir(filepath.Join(stateRoot, name))
}

func openDir(dir string) (*Lab, error) {
	l := &Lab{dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab %q: %w: start it with drover lab up --name %[1]s", filepath.Base(dir), ErrNotUp)
	}
	if err == nil {
		err = json.Unmarshal(text, &l.plan)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the plan of lab %q: %w", filepath.Base(dir), err)
	}
	return l, nil
}

func checkName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("lab name %q: want 1 to 24 of a-z, 0-9 and '-', not beginning or ending with '-'", name)
	}
	return nil
}

// save writes the plan, whole or not at all.
func (l *Lab) save() error {
	text, err := json.MarshalIndent(l.plan, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, "lab.json")
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the lab's plan: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the lab's plan: %w", err)
	}
	return nil
}

// Name returns the lab's name.
func (l *Lab) Name() string { return l.plan.Name }

// Dir is the lab's directory. It belongs to the lab; logs are in it, a directory a site.
func (l *Lab) Dir() string { return l.dir }

// PodCIDR is what the agents allocate pods' addresses from.
func (l *Lab) PodCIDR() netip.Prefix { return l.plan.PodCIDR }

// Sites returns the sites that have an agent, in the order of their numbers.
func (l *Lab) Sites() []Site {
	return slices.DeleteFunc(slices.Clone(l.plan.Sites), func(s Site) bool { return !s.Agent })
}

// Hosts returns all sites, the outside host included.
func (l *Lab) Hosts() []Site { return slices.Clone(l.plan.Sites) }

// Site returns the site of that name.
func (l *Lab) Site(name string) (Site, error) {
	var names []string
	for _, s := range l.plan.Sites {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Site{}, fmt.Errorf("lab %q has no site %q: want one of %v", l.plan.Name, name, names)
}

// sitePath is a path in the directory of a site, as the host sees it.
func (l *Lab) sitePath(site string, elem ...string) string {
	return filepath.Join(append([]string{l.dir, "sites", site}, elem...)...)
}

// DrillDir is where points are armed at which a site's agent stops (package drill), if the lab was made for that.
func (l *Lab) DrillDir(site string) string { return l.sitePath(site, "etc", drillDir) }

// AgentLog is the path of the log of a site's agent.
func (l *Lab) AgentLog(site string) string { return l.sitePath(site, "agent.log") }

// cgroup is the path of a site's cgroup in every hierarchy.
func (l *Lab) cgroup(site string) string {
	return filepath.Join(cgroupOf(l.plan.Name), site)
}

func cgroupOf(lab string) string { return "/drover-lab-" + lab }

// WAN returns the control of the network between the sites.
func (l *Lab) WAN() *WAN { return &WAN{wan.NewClient(filepath.Join(l.dir, "wan.sock"))} }

// WAN changes and shows the links of a running lab. Both ends are names of sites.
type WAN struct{ client *wan.Client }

// Links returns every directed link with its conditions and counters.
func (w *WAN) Links(ctx context.Context) ([]wan.LinkStatus, error) { return w.client.Links(ctx) }

// SetOneWay changes the direction from one site to another.
func (w *WAN) SetOneWay(ctx context.Context, from, to string, c wan.Change) error {
	return w.client.Change(ctx, wan.ChangeRequest{From: from, To: to, Change: c})
}

// Set changes both directions between two sites.
func (w *WAN) Set(ctx context.Context, a, b string, c wan.Change) error {
	return w.client.Change(ctx, wan.ChangeRequest{From: a, To: b, Change: c}, wan.ChangeRequest{From: b, To: a, Change: c})
}

// Cut cuts both directions between two sites; what is on its way is lost.
func (w *WAN) Cut(ctx context.Context, a, b string) error {
	cut := true
	return w.Set(ctx, a, b, wan.Change{Cut: &cut})
}

// Heal undoes Cut.
func (w *WAN) Heal(ctx context.Context, a, b string) error {
	cut := false
	return w.Set(ctx, a, b, wan.Change{Cut: &cut})
}
