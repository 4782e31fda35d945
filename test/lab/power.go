package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Crash takes the power from a site: all of its processes end at once, frozen or not, nothing more of it reaches the
// network, and its memory is gone, /run with it. What it had written to /var/lib/drover stays. Twice is harmless.
func (l *Lab) Crash(ctx context.Context, site string) error {
	if _, err := l.Site(site); err != nil {
		return err
	}
	if err := l.plugSite(ctx, site, false); err != nil {
		return err
	}
	found, err := processes(l.dir)
	if err != nil {
		return err
	}
	// With process 1 its whole namespace ends (pid_namespaces(7)), but for what is frozen.
	for _, p := range found {
		if p.site != site || p.command != commandSiteInit {
			continue
		}
		pidfd, err := p.kill(l.dir)
		if err != nil || pidfd < 0 {
			return err
		}
		defer unix.Close(pidfd) //nolint:errcheck // only waited with
		if err := destroyCgroup(ctx, l.cgroup(site)); err != nil {
			return fmt.Errorf("crashing site %s: %w", site, err)
		}
		if err := awaitEnd(ctx, pidfd); err != nil {
			return fmt.Errorf("crashing site %s: %w", site, err)
		}
		l.reap(p.pid)
	}
	if err := awaitLoops(ctx, l.sitePath(site)); err != nil { // its disk
		return fmt.Errorf("crashing site %s: %w", site, err)
	}
	if err := os.Remove(l.sitePath(site, "init.sock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("crashing site %s: %w", site, err)
	}
	return nil
}

// reap waits for a process that this one has started, and forgets it.
func (l *Lab) reap(pid int) {
	i := slices.IndexFunc(l.children, func(c *exec.Cmd) bool { return c.Process.Pid == pid })
	if i < 0 {
		return // somebody else's
	}
	_ = l.children[i].Wait() // it was killed
	l.children = slices.Delete(l.children, i, i+1)
}

// Boot starts a site that has crashed, and its agent if it has one, and returns when the site is there; its agent
// may take longer.
func (l *Lab) Boot(ctx context.Context, site string) error {
	s, err := l.Site(site)
	if err != nil {
		return err
	}
	groups, err := openHierarchies()
	if err != nil {
		return err
	}
	if err := groups.make(l.cgroup(site)); err != nil {
		return err
	}
	init, err := l.startSite(site)
	if err != nil {
		return err
	}
	if err := await(ctx, init, l.sitePath(site, "init.sock"), l.sitePath(site, "init.log")); err != nil {
		return fmt.Errorf("booting site %s: %w", site, err)
	}
	if err := l.plugSite(ctx, site, true); err != nil {
		return err
	}
	if !s.Agent || l.plan.Bare {
		return nil
	}
	return l.KeepAgent(ctx, site, true)
}

// plugSite tells the router whether a site is on the network.
func (l *Lab) plugSite(ctx context.Context, site string, on bool) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(l.dir, "wan.sock"))
		},
	}}
	query := url.Values{"site": {site}, "on": {strconv.FormatBool(on)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://wan/plug?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("plugging site %s in or out: %w", site, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("plugging site %s in or out: %s", site, strings.TrimSpace(string(why)))
	}
	return nil
}
