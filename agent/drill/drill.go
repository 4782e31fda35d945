// Package drill lets faults strike at an exact place: an agent that was configured for it stops at named points of a
// move until it is let go. It is for laboratories and drills; an agent without a directory of points has none.
//
// A file in the directory arms the point of that name. An agent that comes by makes NAME.hit and waits until NAME is
// gone. What armed it may do in between whatever it likes: kill the agent, cut a link, fill a disk.
package drill

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Suffix of the file that says that an agent has come to an armed point.
const Suffix = ".hit"

// look is how often a point is looked at while an agent waits there. An inotify instance takes longer to close.
const look = 2 * time.Millisecond

// Points are those of one agent. The nil Points are never armed.
type Points struct {
	dir string
	log *slog.Logger
}

// Open returns the points of a directory, nil for "". Who can write there can make the agent wait for ever, so the
// directory must be root's and nobody else's to write.
func Open(dir string, log *slog.Logger) (*Points, error) {
	if dir == "" {
		return nil, nil
	}
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("the directory of drills %q is not an absolute path", dir)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the directory of drills: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return nil, fmt.Errorf("the directory of drills %s is none", dir)
	case !ok || owner.Uid != 0:
		return nil, fmt.Errorf("the directory of drills %s is not owned by root", dir)
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("the directory of drills %s may be written by others than root: chmod go-w it", dir)
	}
	log.Warn("this agent stops at the points of a drill", "dir", dir)
	return &Points{dir: dir, log: log}, nil
}

// Reach says that the agent has come to a point. It returns at once unless that is armed; else when it is not any
// more, or ctx ends.
func (p *Points) Reach(ctx context.Context, point string) {
	if p == nil || !p.armed(point) {
		return
	}
	p.log.Warn("stopped at a point of a drill", "point", point)
	if err := os.WriteFile(filepath.Join(p.dir, point+Suffix), nil, 0o600); err != nil {
		p.log.Error("nobody hears that a point of a drill was reached", "point", point, "err", err)
		return
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for p.armed(point) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	p.log.Warn("let go from a point of a drill", "point", point)
}

func (p *Points) armed(point string) bool {
	_, err := os.Lstat(filepath.Join(p.dir, point))
	return err == nil
}
