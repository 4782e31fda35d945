package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/wan"
)

// fault is something that goes wrong. It strikes while the move stands still, and is healed later.
type fault struct {
	name   string
	loses  end                // the host that is lost, "" if none
	policy bool               // the pod is one that others take over when its node is given up
	fits   func(p point) bool // nil: everywhere
	strike func(ctx context.Context, t *trial) error
	heal   func(ctx context.Context, t *trial) error // nil: it heals by itself
	// It lasts for as long at least after the move goes on, and at most: less if the one who asked for it has an answer.
	least, most time.Duration
}

func faults() []fault {
	all := single()
	for _, f := range single() { // and again, for so long that the mesh gives the node up
		if !slices.Contains([]string{"source-host", "target-host", "source-cut", "target-cut"}, f.name) {
			continue
		}
		f.name, f.policy, f.fits = f.name+"-failover", true, hasFailover
		f.least, f.most = givenUpAfter, givenUpAfter
		all = append(all, f)
	}
	return all
}

// givenUpAfter is after how long without a word a node has surely been given up, and its pods are elsewhere: the lease, its drift, the
// fence's bound, an election if it led, and a start.
const givenUpAfter = 16 * time.Second

// hasFailover are the points at which who owns the pod differs, or what is known of it.
func hasFailover(p point) bool {
	return slices.Contains([]point{
		"source.presync", "source.seized", "target.restore", "target.gate", "target.resume", "target.release", "target.complete", "source.retire",
	}, p)
}

// single are the faults that strike a pod which waits for its node.
func single() []fault {
	return []fault{
		{name: "source-agent", strike: func(ctx context.Context, t *trial) error { return t.kill(ctx, t.source) }},
		{name: "target-agent", strike: func(ctx context.Context, t *trial) error { return t.kill(ctx, t.target) }},
		{name: "leader", strike: killLeader},
		{name: "criu", fits: hasCRIU, strike: killCRIU},
		{name: "hook", fits: hasHook, strike: killHook},
		{name: "source-host", loses: source, least: 3 * time.Second, most: 3 * time.Second,
			strike: func(ctx context.Context, t *trial) error { return t.ground.Crash(ctx, t.source) },
			heal:   func(ctx context.Context, t *trial) error { return t.ground.Boot(ctx, t.source) }},
		{name: "target-host", loses: target, least: 3 * time.Second, most: 8 * time.Second,
			strike: func(ctx context.Context, t *trial) error { return t.ground.Crash(ctx, t.target) },
			heal:   func(ctx context.Context, t *trial) error { return t.ground.Boot(ctx, t.target) }},
		{name: "link-cut", least: 3 * time.Second, most: 8 * time.Second,
			strike: func(ctx context.Context, t *trial) error { return t.ground.WAN().Cut(ctx, t.source, t.target) },
			heal:   healLinks},
		{name: "source-cut", least: 3 * time.Second, most: 8 * time.Second,
			strike: func(ctx context.Context, t *trial) error { return t.isolate(ctx, t.source) }, heal: healLinks},
		{name: "target-cut", least: 3 * time.Second, most: 8 * time.Second,
			strike: func(ctx context.Context, t *trial) error { return t.isolate(ctx, t.target) }, heal: healLinks},
		{name: "source-dead-cut", least: 4 * time.Second, most: 4 * time.Second, strike: func(ctx context.Context, t *trial) error {
			return errors.Join(t.ground.KeepAgent(ctx, t.source, false), t.isolate(ctx, t.source), t.kill(ctx, t.source))
		}, heal: func(ctx context.Context, t *trial) error {
			return errors.Join(healLinks(ctx, t), t.ground.KeepAgent(ctx, t.source, true))
		}},
		{name: "target-disk-full", least: time.Second, most: 4 * time.Second, strike: fillDisk, heal: emptyDisk},
		{name: "corruption", most: 8 * time.Second, strike: func(ctx context.Context, t *trial) error {
			share := 0.03
			return t.ground.WAN().Set(ctx, t.source, t.target, wan.Change{Corrupt: &share})
		}, heal: healLinks},
	}
}

// hasCRIU says where a CRIU is at work, at the same end.
func hasCRIU(p point) bool {
	return slices.Contains([]point{"source.seized", "source.dumped", "target.gate", "target.resume"}, p)
}

// hasHook says where the gate waits in CRIU's post-restore hook.
func hasHook(p point) bool { return slices.Contains([]point{"target.gate", "target.resume"}, p) }

func (t *trial) kill(ctx context.Context, site string) error {
	return t.ground.SignalAgent(ctx, site, unix.SIGKILL)
}

func killLeader(ctx context.Context, t *trial) error {
	leader, err := t.ground.leader(ctx)
	if err != nil {
		return err
	}
	return t.kill(ctx, leader)
}

// isolate cuts a site from all other nodes; clients outside still reach it.
func (t *trial) isolate(ctx context.Context, site string) error {
	var errs []error
	for _, other := range t.ground.Sites() {
		if other.Name != site {
			errs = append(errs, t.ground.WAN().Cut(ctx, site, other.Name))
		}
	}
	return errors.Join(errs...)
}

func healLinks(ctx context.Context, t *trial) error { return t.ground.healLinks(ctx) }

func killCRIU(ctx context.Context, t *trial) error {
	return t.killAll(ctx, t.site(t.point.end()), "CRIU", func(pid int) bool {
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return err == nil && filepath.Base(program) == "criu"
	})
}

func killHook(ctx context.Context, t *trial) error {
	return t.killAll(ctx, t.target, "gate", func(pid int) bool {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && bytes.Contains(line, []byte("gate.sh"))
	})
}

// killAll kills a site's processes of a kind. That there is none is an error: the fault would not have struck.
func (t *trial) killAll(ctx context.Context, site, what string, is func(pid int) bool) error {
	killed := 0
	for _, pid := range t.ground.processes(site) {
		if !is(pid) {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("killing %s: %w", what, err)
		}
		killed++
	}
	if killed == 0 {
		return fmt.Errorf("no %s runs at %s", what, site)
	}
	return ctx.Err()
}

// processes are those of a site, as the host numbers them.
func (g *ground) processes(site string) (pids []int) {
	mark := []byte("/drover-lab-" + g.Name() + "/" + site + "/")
	entries, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, e := range entries {
		text, err := os.ReadFile(e)
		if err != nil || !bytes.Contains(text, mark) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(e, "/")[2]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ballast is what fills a disk.
const ballast = "/var/lib/drover/ballast"

func fillDisk(_ context.Context, t *trial) error {
	path, err := t.ground.Path(t.target, ballast)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	// In ever smaller pieces, down to a block.
	var size int64
	for piece := int64(256 << 20); piece >= 4<<10; {
		err := unix.Fallocate(int(f.Fd()), 0, size, piece)
		switch {
		case err == nil:
			size += piece
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("filling the disk of %s: %w", t.target, err)
		}
	}
	return nil
}

func emptyDisk(_ context.Context, t *trial) error {
	path, err := t.ground.Path(t.target, ballast)
	if err != nil {
		return err
	}
	return os.Remove(path)
}
