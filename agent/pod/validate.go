package pod

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
)

// ownPrefix begins the keys of what the mesh itself is told by annotations and labels.
const ownPrefix = "drover.dev/"

// Bounds of a resolver's configuration: resolv.conf(5) and Kubernetes' validation of a PodDNSConfig.
const (
	maxNameservers   = 3
	maxSearches      = 32
	maxSearchesChars = 2048
)

// validate reports values that are understood and can't work.
func (e *ManifestError) validate(m *Manifest) {
	pod, spec := &m.pod, &m.pod.Spec
	e.check("metadata.name", validation.IsDNS1123Subdomain(pod.Name))
	e.validateKeys("metadata.labels", pod.Labels)
	e.validateKeys("metadata.annotations", pod.Annotations)
	for key, value := range pod.Labels {
		e.check("metadata.labels."+key, content.IsLabelValue(value))
	}
	for key, value := range spec.NodeSelector {
		e.check("spec.nodeSelector."+key, content.IsLabelKey(key))
		e.check("spec.nodeSelector."+key, content.IsLabelValue(value))
	}
	if spec.Hostname != "" {
		e.check("spec.hostname", validation.IsDNS1123Label(spec.Hostname))
	}
	if grace := spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 {
		e.add("spec.terminationGracePeriodSeconds", "%d is negative", *grace)
	}
	oneOf(e, "spec.restartPolicy", spec.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	e.validateDNS(spec)
	e.validatePodSecurity(spec.SecurityContext)
	volumes := e.validateVolumes(spec.Volumes)
	e.validateContainers(m, volumes)
	e.validateOwn(m)
}

func (e *ManifestError) validateKeys(at string, keys map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		e.check(at+"."+key, content.IsLabelKey(strings.ToLower(key)))
	}
}

func (e *ManifestError) validateContainers(m *Manifest, volumes map[string]bool) {
	spec := &m.pod.Spec
	if len(spec.Containers) == 0 {
		e.add("spec.containers", "at least one is required")
	}
	names := map[string]bool{}
	for _, group := range []struct {
		at         string
		containers []corev1.Container
	}{{"spec.initContainers", spec.InitContainers}, {"spec.containers", spec.Containers}} {
		for i := range group.containers {
			at, c := fmt.Sprintf("%s[%d]", group.at, i), &group.containers[i]
			e.check(at+".name", validation.IsDNS1123Label(c.Name))
			e.unique(at+".name", c.Name, names)
			e.validateContainer(at, m, c, volumes)
			e.validateSecurity(at+".securityContext", spec.SecurityContext, c.SecurityContext)
		}
	}
}

func (e *ManifestError) validateDNS(spec *corev1.PodSpec) {
	switch spec.DNSPolicy {
	case corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet:
		e.add("spec.dnsPolicy", "%s is not supported: there is no cluster's DNS here; Default takes the node's resolver, None that of dnsConfig", spec.DNSPolicy)
	default:
		oneOf(e, "spec.dnsPolicy", spec.DNSPolicy, corev1.DNSDefault, corev1.DNSNone)
	}
	dns := spec.DNSConfig
	if dns == nil {
		dns = &corev1.PodDNSConfig{}
	}
	if spec.DNSPolicy == corev1.DNSNone && len(dns.Nameservers) == 0 {
		e.add("spec.dnsConfig.nameservers", "required with dnsPolicy None")
	}
	if len(dns.Nameservers) > maxNameservers {
		e.add("spec.dnsConfig.nameservers", "%d are too many: a resolver asks the first %d", len(dns.Nameservers), maxNameservers)
	}
	for i, address := range dns.Nameservers {
		e.address(fmt.Sprintf("spec.dnsConfig.nameservers[%d]", i), address)
	}
	if len(dns.Searches) > maxSearches || len(strings.Join(dns.Searches, " ")) > maxSearchesChars {
		e.add("spec.dnsConfig.searches", "too many: at most %d, of %d characters together", maxSearches, maxSearchesChars)
	}
	for i, domain := range dns.Searches {
		if domain != "." {
			e.check(fmt.Sprintf("spec.dnsConfig.searches[%d]", i), validation.IsDNS1123Subdomain(strings.TrimSuffix(domain, ".")))
		}
	}
	for i, o := range dns.Options {
		e.oneWord(fmt.Sprintf("spec.dnsConfig.options[%d].name", i), o.Name)
		if o.Value != nil && *o.Value != "" {
			e.oneWord(fmt.Sprintf("spec.dnsConfig.options[%d].value", i), *o.Value)
		}
	}
	for i, alias := range spec.HostAliases {
		e.address(fmt.Sprintf("spec.hostAliases[%d].ip", i), alias.IP)
		for j, name := range alias.Hostnames {
			e.check(fmt.Sprintf("spec.hostAliases[%d].hostnames[%d]", i, j), validation.IsDNS1123Subdomain(name))
		}
	}
}

// oneWord is for what goes into a line of a file.
func (e *ManifestError) oneWord(field, value string) {
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		e.add(field, "%q is not one word", value)
	}
}

func (e *ManifestError) address(field, value string) {
	if address, err := netip.ParseAddr(value); err != nil || address.Zone() != "" {
		e.add(field, "%q is not an IP address", value)
	}
}

func (e *ManifestError) check(field string, wrong []string) {
	for _, reason := range wrong {
		e.add(field, "%s", reason)
	}
}

// unique reports a name that has been seen before; an empty one has been reported already.
func (e *ManifestError) unique(field, name string, seen map[string]bool) {
	if seen[name] && name != "" {
		e.add(field, "%q is used twice", name)
	}
	seen[name] = true
}

// oneOf reports a value that is set and none of those.
func oneOf[T ~string](e *ManifestError, field string, value T, values ...T) {
	if value != "" && !slices.Contains(values, value) {
		names := make([]string, len(values))
		for i, v := range values {
			names[i] = string(v)
		}
		e.add(field, "%q is none of %s", value, strings.Join(names, ", "))
	}
}
