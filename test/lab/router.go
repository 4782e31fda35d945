package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-mesh/drover/test/wan"
)

// The device of a site on the WAN.
const (
	wanDevice = "wan0"
	wanMTU    = 1500
)

// RunRouter is the process that carries packets between the sites of the lab in dir, until SIGTERM.
func RunRouter(ctx context.Context, dir string, log *slog.Logger) error {
	if err := closeInherited(); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	l, err := openDir(dir)
	if err != nil {
		return err
	}
	var sites []wan.Site
	for i, s := range l.plan.Sites {
		site, err := l.connect(s, i == 0)
		if err != nil {
			for _, opened := range sites {
				unix.Close(opened.Device) //nolint:errcheck // the process ends
			}
			return err
		}
		sites = append(sites, site)
	}
	router, err := wan.NewRouter(wan.Config{Conditions: l.plan.Conditions, Seed: l.plan.Seed, Log: log}, sites)
	if err != nil {
		return err
	}
	// The name appears only when it is listened on.
	socket := filepath.Join(dir, "wan.sock")
	listener, err := net.Listen("unix", socket+".new")
	if err != nil {
		return errors.Join(fmt.Errorf("listening for commands: %w", err), router.Close())
	}
	if err := os.Rename(socket+".new", socket); err != nil {
		return errors.Join(err, listener.Close(), router.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/", router.Handler())
	mux.HandleFunc("PUT /plug", func(w http.ResponseWriter, r *http.Request) {
		if err := l.plug(router, r.URL.Query().Get("site"), r.URL.Query().Get("on") == "true"); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case <-ctx.Done():
		err = server.Close()
		<-done //nolint:errcheck // http.ErrServerClosed
	case err = <-done:
	}
	return errors.Join(err, router.Close())
}

// plug connects a site that has started anew, or takes it off the network.
func (l *Lab) plug(router *wan.Router, name string, on bool) error {
	if !on {
		return router.Plug(name, -1)
	}
	s, err := l.Site(name)
	if err != nil {
		return err
	}
	site, err := l.connect(s, false) // its prefixes stay as they are
	if err != nil {
		return err
	}
	return router.Plug(name, site.Device)
}

// connect makes the site's device. The outside host sends what is for pods to its gateway, the first
// site, and the WAN is the wire between them; sites never do that, they route pods by themselves.
func (l *Lab) connect(s Site, gateway bool) (wan.Site, error) {
	init, err := l.init(s.Name)
	if err != nil {
		return wan.Site{}, err
	}
	own := []netip.Prefix{netip.PrefixFrom(s.Address, 32), netip.PrefixFrom(s.Address6, 128)}
	device := wan.Device{
		NetNS: fmt.Sprintf("/proc/%d/ns/net", init), Name: wanDevice, MTU: wanMTU, Addresses: own,
		Routes: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16"), netip.MustParsePrefix("fd00:77::/32")},
	}
	if !s.Agent {
		device.Routes = append(device.Routes, l.plan.PodCIDR)
	}
	tun, err := wan.OpenDevice(device)
	if err != nil {
		return wan.Site{}, fmt.Errorf("connecting site %s: %w", s.Name, err)
	}
	prefixes := own
	if gateway {
		prefixes = append(prefixes, l.plan.PodCIDR)
	}
	return wan.Site{Name: s.Name, Prefixes: prefixes, Device: tun}, nil
}
