package lab

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SiteInit is process 1 of a site: it makes the namespaces that it was started in into a host, then
// supervises the site's agent until SIGTERM. dir is the lab's directory.
func SiteInit(ctx context.Context, dir, site string, log *slog.Logger) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("site %s: must be process 1 of a PID namespace; drover lab up starts it so", site)
	}
	if err := closeInherited(); err != nil {
		return err
	}
	l, err := openDir(dir)
	if err != nil {
		return err
	}
	me, err := l.Site(site)
	if err != nil {
		return err
	}
	if os.Getenv(apartKey) == "" {
		return l.setApart(me)
	}
	if err := checkOwnClocks(); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()

	// What lies outside the site's file system is opened before that is arranged.
	output, err := os.OpenFile(l.AgentLog(site), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the agent's log: %w", err)
	}
	defer output.Close()
	listener, err := net.Listen("unix", l.sitePath(site, "init.new"))
	if err != nil {
		return fmt.Errorf("listening for the lab's commands: %w", err)
	}
	defer listener.Close()
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		hosts = []byte("127.0.0.1 localhost\n::1 localhost\n")
	}
	published, err := os.Open(l.sitePath(site))
	if err != nil {
		return err
	}
	defer published.Close()

	if err := l.arrangeMounts(me); err != nil {
		return err
	}
	if err := l.arrangeHost(me, string(hosts)); err != nil {
		return err
	}
	supervisor := newSupervisor(l.plan.AgentCommand, environment(l.plan, site), output, log)
	server := &http.Server{Handler: supervisor.handler(), ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener) //nolint:errcheck // ends by the Close below
	defer server.Close()      //nolint:errcheck // the process ends
	// The name appears only now, so that who sees it finds a site that is whole.
	if err := unix.Renameat(int(published.Fd()), "init.new", int(published.Fd()), "init.sock"); err != nil {
		return fmt.Errorf("publishing the site's socket: %w", err)
	}
	return supervisor.run(ctx)
}

// environment is what processes of a site start with, besides what their caller adds.
func environment(p plan, site string) []string {
	return []string{
		environmentKey + "=" + p.Name,
		"HOSTNAME=" + site,
		"HOME=/root",
		"LANG=C.UTF-8",
		"PATH=" + p.searchPath(),
	}
}

// searchPath finds the lab's own drover first.
func (p plan) searchPath() string {
	return filepath.Dir(p.Executable) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// arrangeHost sets the names and the network of a site, but for its device on the WAN.
func (l *Lab) arrangeHost(me Site, hosts string) error {
	if err := unix.Sethostname([]byte(me.Name)); err != nil {
		return fmt.Errorf("setting the host's name: %w", err)
	}
	var names strings.Builder
	names.WriteString(strings.TrimSuffix(hosts, "\n") + "\n")
	for _, s := range l.plan.Sites {
		fmt.Fprintf(&names, "%s %s\n%s %[2]s\n", s.Address, s.Name, s.Address6)
	}
	settings := map[string]string{
		"/etc/hostname": me.Name + "\n",
		"/etc/hosts":    names.String(),
		// Packets of a pod come in by whichever site its peer thinks it is at.
		"/proc/sys/net/ipv4/conf/all/rp_filter":     "0",
		"/proc/sys/net/ipv4/conf/default/rp_filter": "0",
	}
	if me.Agent {
		settings["/proc/sys/net/ipv4/ip_forward"] = "1"
		settings["/proc/sys/net/ipv6/conf/all/forwarding"] = "1"
		settings["/proc/sys/net/ipv4/conf/all/send_redirects"] = "0"
		settings["/proc/sys/net/ipv4/conf/default/send_redirects"] = "0"
	}
	for path, value := range settings {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("setting up the host: %w", err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}
