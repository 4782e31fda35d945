package configs

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/token"

	"github.com/drover-mesh/drover/state"
)

var (
	nameForm     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	registryForm = regexp.MustCompile(`^([a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$`)
	cgroupForm   = regexp.MustCompile(`^(/[a-zA-Z0-9_.:@-]+)+$`)
)

// maxSocket is the longest path that fits a socket address (sun_path in linux/un.h has 108 bytes, the last is 0).
const maxSocket = 107

// checker reports what is wrong with the values of one configuration, at the place where each stands.
type checker struct {
	doc  *document
	want map[string]string
}

// check reports values that are well formed but can't be. Fields that reading found wrong are left alone.
func (c *Config) check(doc *document) {
	for _, p := range doc.problems {
		if p.Field == "" {
			return // not even YAML
		}
	}
	k := checker{doc: doc, want: wants(reflect.TypeFor[Config](), "")}
	k.required("node", c.Node != "")
	k.name("node", c.Node)
	k.name("site", c.Site)
	k.addresses(c)
	k.servers(c)
	k.assert(c.DeadServerAfter == 0 || c.DeadServerAfter >= Duration(time.Minute), "deadServerAfter", "%v is too short", c.DeadServerAfter)
	k.assert(c.Lease >= Duration(2*time.Second), "lease", "%v is too short", c.Lease)
	k.assert(c.Lease <= Duration(time.Minute), "lease", "%v is too long", c.Lease)
	k.labels(c.Labels)
	k.podCIDR(c)
	k.assert(c.Overlay.VNI > 0 && c.Overlay.VNI < 1<<24, "overlay.vni", "%d is no network identifier", c.Overlay.VNI)
	k.assert(c.Overlay.Port > 0, "overlay.port", "0 is no port")
	k.assert(c.Overlay.Port != c.Address.Port(), "overlay.port", "%d is the port of address too", c.Overlay.Port)
	for _, p := range []struct{ field, value string }{
		{"identity", c.Identity}, {"stateDir", c.StateDir}, {"runDir", c.RunDir}, {"socket", c.socket()},
	} {
		k.assert(path.IsAbs(p.value) && path.Clean(p.value) != "/", p.field, "%q is not valid", p.value)
	}
	k.assert(c.Drill == "" || path.IsAbs(c.Drill), "drill", "%q is not absolute", c.Drill)
	k.assert(c.StateDir != c.RunDir, "runDir", "%q is the stateDir too, but must not outlive a reboot", c.RunDir)
	k.assert(len(c.socket()) <= maxSocket, "socket", "%q has %d bytes", c.socket(), len(c.socket()))
	k.assert(c.Registries.AuthFile == "" || path.IsAbs(c.Registries.AuthFile), "registries.authFile", "%q is not absolute", c.Registries.AuthFile)
	for i, host := range c.Registries.Insecure {
		k.assert(registryForm.MatchString(host), fmt.Sprintf("registries.insecure[%d]", i), "%q is no host", host)
	}
	unique(k, "registries.insecure", c.Registries.Insecure)
	k.oneOf("cgroupDriver", c.CgroupDriver, Cgroupfs, Systemd)
	parent := c.cgroupParent()
	k.assert(cgroupForm.MatchString(parent) && path.Clean(parent) == parent, "cgroupParent", "%q is not valid", parent)
	k.assert(c.CgroupDriver != Systemd || path.Ext(parent) == ".slice", "cgroupParent", "%q is no slice, which the driver systemd needs", parent)
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "text", "json")
}

func (k checker) addresses(c *Config) {
	k.required("address", c.Address.IsValid())
	k.reachable("address", c.Address)
	k.assert(!c.Address.IsValid() || c.Address.Addr().Is4(), "address", "%s is IPv6, which pods' packets can't travel over yet: the overlay between nodes is IPv4", c.Address.Addr())
	k.reachable("gossip", c.Gossip)
	k.assert(!c.Gossip.IsValid() || c.Gossip != c.Address, "gossip", "%s is the address too: both use UDP", c.Gossip)
	for i, j := range c.Join {
		k.reachable(fmt.Sprintf("join[%d]", i), j)
	}
	unique(k, "join", c.Join)
}

// servers checks who votes: the list makes a new mesh, a role alone takes part in one that is there.
func (k checker) servers(c *Config) {
	k.oneOf("role", string(c.role()), string(Server), string(Plain))
	for i, s := range c.Servers {
		k.name(fmt.Sprintf("servers[%d]", i), s)
	}
	unique(k, "servers", c.Servers)
	listed := slices.Contains(c.Servers, c.Node)
	switch {
	case len(c.Servers) == 0 && c.Role == "":
		k.required("servers", false)
	case len(c.Servers) == 0:
		k.required("join", len(c.Join) > 0)
	case c.Role == Plain:
		k.assert(!listed, "role", "plain, but servers names this node")
	case c.Role == Server:
		k.assert(listed, "role", "server, but servers doesn't name this node: leave servers out to join a mesh that is there")
	}
}

func (k checker) labels(labels map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		err := state.CheckLabel(key, labels[key])
		k.assert(err == nil, fmt.Sprintf("labels[%s]", key), "%v", err)
	}
}

func (k checker) podCIDR(c *Config) {
	p := c.PodCIDR
	if !p.IsValid() {
		return
	}
	k.assert(p.Addr().Is4() && p.Bits() >= 8 && p.Bits() <= 28, "podCIDR", "%s is not valid", p)
	k.assert(p.Masked() == p, "podCIDR", "%s is an address in a network; the network is %s", p, p.Masked())
	for _, a := range []netip.AddrPort{c.Address, c.Gossip} {
		k.assert(!a.IsValid() || !p.Contains(a.Addr()), "podCIDR", "%s contains %s, an address of this node", p, a.Addr())
	}
}

// reachable asserts that peers can send to a.
func (k checker) reachable(field string, a netip.AddrPort) {
	if !a.IsValid() {
		return // it is missing, or was found wrong
	}
	k.assert(a.Port() != 0, field, "%s has the port 0", a)
	k.assert(!a.Addr().IsUnspecified(), field, "peers can't reach %s", a.Addr())
	k.assert(!a.Addr().IsMulticast(), field, "%s is a multicast address", a.Addr())
	k.assert(a.Addr().Zone() == "", field, "%s has a zone, which means nothing to peers", a.Addr())
}

func (k checker) name(field, name string) {
	if name != "" || k.doc.places[field] != nil {
		k.assert(nameForm.MatchString(name), field, "%q is not valid", name)
	}
}

func (k checker) oneOf(field, value string, valid ...string) {
	if slices.Contains(valid, value) {
		return
	}
	why := "%q is not valid"
	if meant := nearest(value, valid); meant != "" {
		why += fmt.Sprintf("; did you mean %q?", meant)
	}
	k.assert(false, field, why, value)
}

func unique[T comparable](k checker, field string, values []T) {
	for i, v := range values {
		if first := slices.Index(values, v); first < i {
			k.assert(false, fmt.Sprintf("%s[%d]", field, i), "%v stands there twice", v)
		}
	}
}

func (k checker) required(field string, ok bool) {
	if !ok && !k.known(field) {
		k.doc.report(k.doc.places[field], field, fmt.Sprintf("field %q is missing", field), k.want[field])
	}
}

// assert reports that field is wrong unless ok or a problem with the field is known.
func (k checker) assert(ok bool, field, why string, args ...any) {
	if !ok && !k.known(field) {
		k.doc.report(k.place(field), field, field+": "+fmt.Sprintf(why, args...), k.want[base(field)])
	}
}

// place is where the field stands; a derived one stands nowhere.
func (k checker) place(field string) *token.Token { return k.doc.places[field] }

// known says whether the field, or the list that it is in, is reported already.
func (k checker) known(field string) bool {
	return slices.ContainsFunc(k.doc.problems, func(p Problem) bool { return p.Field == field || p.Field == base(field) || base(p.Field) == field })
}

// base is the field without an index: join of join[0].
func base(field string) string {
	name, _, _ := strings.Cut(field, "[")
	return name
}

// wants collects the tags that say what is valid, by path.
func wants(t reflect.Type, path string) map[string]string {
	all := make(map[string]string)
	for i := range t.NumField() {
		f := t.Field(i)
		name := join(path, f.Tag.Get("yaml"))
		all[name] = f.Tag.Get("want")
		if all[name] == "" {
			for k, v := range wants(f.Type, name) {
				all[k] = v
			}
		}
	}
	return all
}
