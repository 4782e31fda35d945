package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/wan"
)

// Status is what drover lab ls shows of a lab. Its JSON names are stable.
type Status struct {
	Name      string       `json:"name"`
	State     string       `json:"state"` // up, starting (or interrupted while it did), broken
	Problem   string       `json:"problem,omitempty"`
	Created   time.Time    `json:"created"`
	PodCIDR   netip.Prefix `json:"pod_cidr"`
	Bare      bool         `json:"bare"`
	RouterPID int          `json:"router_pid"` // 0: dead
	Sites     []SiteStatus `json:"sites"`
	Links     []LinkStatus `json:"links"`
}

// SiteStatus is the state of one site. A pid of 0 is of what doesn't run.
type SiteStatus struct {
	Name     string     `json:"name"`
	Address  netip.Addr `json:"address"`
	Address6 netip.Addr `json:"address6"`
	InitPID  int        `json:"init_pid"`
	AgentPID int        `json:"agent_pid"`
	Restarts int        `json:"agent_restarts"`
	Log      string     `json:"agent_log,omitempty"`
	ClockS   float64    `json:"clock_offset_s"` // its monotonic and boot clocks are ahead of the machine's, seconds
	CPUMask  []string   `json:"cpu_mask"`       // flags that its /proc/cpuinfo lacks
	Disk     int64      `json:"disk_bytes"`     // of its state directory; 0: not limited
	DiskUsed int64      `json:"disk_used_bytes"`
}

// LinkStatus is one directed link for people and their programs. Shares are from 0 to 1.
type LinkStatus struct {
	From       string       `json:"from"`
	To         string       `json:"to"`
	DelayMS    float64      `json:"delay_ms"`
	JitterMS   float64      `json:"jitter_ms"`
	Unordered  bool         `json:"unordered"`
	Reorder    float64      `json:"reorder"`
	HoldBackMS float64      `json:"hold_back_ms"`
	RateBit    int64        `json:"rate_bit"`
	Loss       float64      `json:"loss"`
	Duplicate  float64      `json:"duplicate"`
	Corrupt    float64      `json:"corrupt"`
	Queue      int64        `json:"queue_bytes"`
	Cut        bool         `json:"cut"`
	Counters   wan.Counters `json:"counters"`
}

// NewLinkStatus converts a link's state.
func NewLinkStatus(l wan.LinkStatus) LinkStatus {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	c := l.Conditions
	return LinkStatus{
		From: l.From, To: l.To,
		DelayMS: ms(c.Delay), JitterMS: ms(c.Jitter), Unordered: c.Unordered, Reorder: c.Reorder, HoldBackMS: ms(c.HoldBack),
		RateBit: int64(c.Rate), Loss: c.Loss, Duplicate: c.Duplicate, Corrupt: c.Corrupt, Queue: c.QueueBytes(), Cut: c.Cut,
		Counters: l.Counters,
	}
}

// List returns the state of all labs of this machine.
func List(ctx context.Context) ([]Status, error) {
	entries, err := os.ReadDir(stateRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return []Status{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the labs: %w", err)
	}
	all := []Status{}
	for _, entry := range entries {
		l, err := openDir(filepath.Join(stateRoot, entry.Name()))
		if err != nil {
			all = append(all, Status{Name: entry.Name(), State: "broken", Problem: err.Error(), Sites: []SiteStatus{}, Links: []LinkStatus{}})
			continue
		}
		all = append(all, l.Status(ctx))
	}
	return all, nil
}

// Status returns the lab's state; what can't be asked is told as a problem.
func (l *Lab) Status(ctx context.Context) Status {
	s := Status{
		Name: l.plan.Name, State: "up", Created: l.plan.Created, PodCIDR: l.plan.PodCIDR, Bare: l.plan.Bare,
		Sites: []SiteStatus{}, Links: []LinkStatus{},
	}
	if !l.plan.Complete {
		s.State = "starting"
	}
	if err := l.whole(); err != nil && l.plan.Complete {
		s.State, s.Problem = "broken", err.Error()
	}
	found, err := processes(l.dir)
	if err != nil {
		s.State, s.Problem = "broken", err.Error()
	}
	pids := map[string]int{}
	for _, p := range found {
		pids[p.site] = p.pid
	}
	s.RouterPID = pids[""]
	for _, site := range l.plan.Sites {
		s.Sites = append(s.Sites, l.siteStatus(ctx, site, pids[site.Name]))
	}
	if s.RouterPID > 0 {
		links, err := l.WAN().Links(ctx)
		if err != nil && l.plan.Complete {
			s.State, s.Problem = "broken", err.Error()
		}
		for _, link := range links {
			s.Links = append(s.Links, NewLinkStatus(link))
		}
	}
	return s
}

// SiteStatus returns the state of one site.
func (l *Lab) SiteStatus(ctx context.Context, site string) (SiteStatus, error) {
	s, err := l.Site(site)
	if err != nil {
		return SiteStatus{}, err
	}
	init, err := l.init(site)
	if err != nil {
		return SiteStatus{}, err
	}
	return l.siteStatus(ctx, s, init), nil
}

func (l *Lab) siteStatus(ctx context.Context, site Site, init int) SiteStatus {
	s := SiteStatus{Name: site.Name, Address: site.Address, Address6: site.Address6, InitPID: init, ClockS: site.Clock.Seconds(), CPUMask: []string{}, Disk: site.Disk}
	s.CPUMask = append(s.CPUMask, site.CPUMask...)
	if init != 0 && site.Disk > 0 {
		s.DiskUsed = diskUsed(init, site.Disk)
	}
	if !site.Agent || init == 0 {
		return s
	}
	s.Log = l.AgentLog(site.Name)
	if agent, err := l.Agent(ctx, site.Name); err == nil {
		s.Restarts = agent.Restarts
		if agent.Running {
			s.AgentPID, _ = hostPID(init, agent.PID) // 0 if it has ended since
		}
	}
	return s
}

// diskUsed is what can't be written any more of a site's disk, its own overhead included, or 0 if the site is just going.
func diskUsed(init int, disk int64) int64 {
	var st unix.Statfs_t
	if unix.Statfs(fmt.Sprintf("/proc/%d/root/var/lib/drover", init), &st) != nil {
		return 0
	}
	return max(0, disk-int64(st.Bavail)*st.Bsize)
}
