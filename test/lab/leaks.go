package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Leak is something that is there after a lab and wasn't before it.
type Leak struct {
	Kind string `json:"kind"` // mount, loop, link, address, route, rule, netns, nft, cgroup, process, file
	Name string `json:"name"`
}

func (l Leak) String() string { return l.Kind + " " + l.Name }

// State is what a host had at one moment of all that a lab or an agent could leave behind. Network
// and mounts are those of the caller's namespaces.
type State struct{ items map[Leak]bool }

// ourDirectories are looked into for files.
var ourDirectories = []string{stateRoot, "/var/lib/drover", "/run/drover", "/etc/drover"}

// Snapshot looks at the host. Mounts, links, addresses, routes, rules and nft tables are recorded
// all; processes, cgroups, network namespaces and files only if they are drover's by their mark,
// path or name, since a host makes those for itself all the time.
func Snapshot() (State, error) {
	s := State{make(map[Leak]bool)}
	var err error
	for _, look := range []func(add func(kind, name string)) error{
		lookMounts, lookLoops, lookNetwork, lookNFT, lookCgroups, lookProcesses, lookFiles,
	} {
		err = errors.Join(err, look(func(kind, name string) { s.items[Leak{kind, name}] = true }))
	}
	if err != nil {
		return s, fmt.Errorf("looking for leaks: %w", err)
	}
	return s, nil
}

// Diff returns what is in after and not in s, sorted; never nil.
func (s State) Diff(after State) []Leak {
	leaks := []Leak{}
	for item := range maps.Keys(after.items) {
		if !s.items[item] {
			leaks = append(leaks, item)
		}
	}
	slices.SortFunc(leaks, func(a, b Leak) int { return strings.Compare(a.String(), b.String()) })
	return leaks
}

// Leaks returns what has been there since s and stays: whatever vanishes within a few seconds
// belongs to others, or is on its way out of the kernel.
func (s State) Leaks(ctx context.Context) ([]Leak, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		now, err := Snapshot()
		if err != nil {
			return nil, err
		}
		leaks := s.Diff(now)
		if len(leaks) == 0 || pause(ctx, 100*time.Millisecond) != nil {
			return leaks, nil
		}
	}
}

func lookMounts(add func(kind, name string)) error {
	mounts, err := mountTable("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	count := map[string]int{} // mounts may lie on one another
	for _, m := range mounts {
		kind := "mount"
		if m.fstype == "nsfs" && strings.HasPrefix(m.root, "net:") {
			kind = "netns"
		}
		name := fmt.Sprintf("%s (%s)", m.point, m.fstype)
		count[name]++
		if n := count[name]; n > 1 {
			name = fmt.Sprintf("%s, number %d", name, n)
		}
		add(kind, name)
	}
	names, err := filepath.Glob("/run/netns/*drover*")
	for _, name := range names {
		add("netns", name)
	}
	return err
}

func lookLoops(add func(kind, name string)) error {
	found, err := loops(stateRoot)
	for _, name := range found {
		add("loop", name)
	}
	return err
}

func lookNetwork(add func(kind, name string)) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	for _, l := range links {
		add("link", fmt.Sprintf("%s (%s)", l.Attrs().Name, l.Type()))
	}
	addresses, err := netlink.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range addresses {
		add("address", fmt.Sprintf("%s on %d", a.IPNet, a.LinkIndex))
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		// Table "unspec" is all of them; cached clones are no routes of anyone's.
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("listing routes: %w", err)
		}
		for _, r := range routes {
			add("route", r.String())
		}
		rules, err := netlink.RuleList(family)
		if err != nil {
			return fmt.Errorf("listing rules: %w", err)
		}
		for _, r := range rules {
			add("rule", fmt.Sprintf("family %d: %s", family, r.String()))
		}
	}
	return nil
}

func lookNFT(add func(kind, name string)) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("listing nft tables: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return fmt.Errorf("listing nft tables: %w", err)
	}
	for _, t := range tables {
		add("nft", fmt.Sprintf("table %s of family %d", t.Name, t.Family))
	}
	return nil
}

func lookCgroups(add func(kind, name string)) error {
	points, err := openHierarchies()
	if err != nil {
		return err
	}
	for _, point := range points {
		for _, pattern := range []string{"drover", cgroupOf("*")} {
			names, err := filepath.Glob(filepath.Join(point, pattern))
			if err != nil {
				return err
			}
			for _, name := range names {
				add("cgroup", name)
			}
		}
	}
	return nil
}

// lookProcesses finds processes by the mark that a lab's processes inherit, and by their cgroup,
// which they can't leave by a change of their environment.
func lookProcesses(add func(kind, name string)) error {
	pids, err := allPIDs()
	if err != nil {
		return err
	}
	self := os.Getpid()
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/", pid)
		environ, _ := os.ReadFile(dir + "environ") // errors: it has ended
		cgroup, _ := os.ReadFile(dir + "cgroup")
		marked := bytes.HasPrefix(environ, []byte(environmentKey+"=")) || bytes.Contains(environ, []byte("\x00"+environmentKey+"="))
		grouped := bytes.Contains(cgroup, []byte(":/drover/")) || bytes.Contains(cgroup, []byte(":"+cgroupOf("")))
		if pid == self || !marked && !grouped {
			continue
		}
		command, _ := os.ReadFile(dir + "cmdline")
		if len(command) == 0 {
			continue // a zombie is its parent's
		}
		add("process", fmt.Sprintf("%d %s", pid, bytes.TrimSpace(bytes.ReplaceAll(command, []byte{0}, []byte{' '}))))
	}
	return nil
}

func lookFiles(add func(kind, name string)) error {
	for _, root := range ourDirectories {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				add("file", path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("listing files: %w", err)
		}
	}
	return nil
}
