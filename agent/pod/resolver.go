package pod

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// resolver is the content of a resolv.conf(5).
type resolver struct {
	nameservers, searches []string
	options               []string // name or name:value
}

// resolvConfs are where a node's resolver is configured. The second is systemd-resolved's, for a first that names only
// a stub on the node's loopback, which no pod reaches.
func resolvConfs() []string { return []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} }

// resolver is the one that the manifest asks for.
func (m *Manifest) resolver() (resolver, error) { return m.resolverOver(resolvConfs()...) }

// resolverOver is given where the node's own is configured. One that stands nowhere is empty.
func (m *Manifest) resolverOver(node ...string) (resolver, error) {
	var out resolver
	spec := &m.pod.Spec
	if spec.DNSPolicy != corev1.DNSNone {
		var err error
		if out, err = nodeResolver(node...); err != nil {
			return out, err
		}
	}
	if dns := spec.DNSConfig; dns != nil {
		out.nameservers = distinct(out.nameservers, dns.Nameservers)
		out.searches = distinct(out.searches, dns.Searches)
		for _, o := range dns.Options {
			out.setOption(o)
		}
	}
	out.nameservers = out.nameservers[:min(len(out.nameservers), maxNameservers)]
	return out, nil
}

// nodeResolver reads the first of those files that names a server which a pod can reach.
func nodeResolver(paths ...string) (resolver, error) {
	var out resolver
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("reading the node's resolver: %w", err)
		}
		if out = parseResolver(string(data)); len(out.nameservers) > 0 {
			break
		}
	}
	return out, nil
}

// parseResolver leaves out servers on the loopback.
func parseResolver(text string) resolver {
	var out resolver
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			address, err := netip.ParseAddr(words[1])
			if err == nil && !address.IsLoopback() {
				out.nameservers = append(out.nameservers, words[1])
			}
		case "search", "domain": // the last one counts
			out.searches = words[1:]
		case "options":
			out.options = append(out.options, words[1:]...)
		}
	}
	return out
}

func (r *resolver) setOption(o corev1.PodDNSConfigOption) {
	set := o.Name
	if o.Value != nil && *o.Value != "" {
		set += ":" + *o.Value
	}
	for i, old := range r.options {
		if name, _, _ := strings.Cut(old, ":"); name == o.Name {
			r.options[i] = set
			return
		}
	}
	r.options = append(r.options, set)
}

func (r resolver) String() string {
	var b strings.Builder
	for _, server := range r.nameservers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(r.searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.searches, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.String()
}

// distinct is all of both, each once.
func distinct(lists ...[]string) []string {
	seen := map[string]bool{}
	var all []string
	for _, list := range lists {
		for _, s := range list {
			if !seen[s] {
				seen[s] = true
				all = append(all, s)
			}
		}
	}
	return all
}
