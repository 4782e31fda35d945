package pod

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// security is what a container may do: its own securityContext over the pod's.
type security struct {
	user, group  *int64  // the image's when nil
	nonRoot      bool    // it may not run as user 0
	groups       []int64 // additional ones, the group of the volumes among them
	strictGroups bool    // and those of the image's /etc/group not
	capabilities []string
	noNewPrivs   bool // no set-user-ID, no file capabilities
	readOnlyRoot bool
	seccomp      corev1.SeccompProfile
}

// security is that of one of the manifest's containers.
func (m *Manifest) security(c *corev1.Container) security {
	pod, own := m.pod.Spec.SecurityContext, c.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	if own == nil {
		own = &corev1.SecurityContext{}
	}
	s := security{
		user: first(own.RunAsUser, pod.RunAsUser), group: first(own.RunAsGroup, pod.RunAsGroup),
		nonRoot:      isTrue(first(own.RunAsNonRoot, pod.RunAsNonRoot)),
		groups:       slices.Clone(pod.SupplementalGroups),
		strictGroups: pod.SupplementalGroupsPolicy != nil && *pod.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict,
		capabilities: grant(own.Capabilities),
		noNewPrivs:   own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		readOnlyRoot: isTrue(own.ReadOnlyRootFilesystem),
		seccomp:      corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if pod.FSGroup != nil {
		s.groups = append(s.groups, *pod.FSGroup)
	}
	if profile := first(own.SeccompProfile, pod.SeccompProfile); profile != nil {
		s.seccomp = *profile
	}
	return s
}

func first[T any](values ...*T) *T {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }

func (e *ManifestError) validatePodSecurity(s *corev1.PodSecurityContext) {
	const at = "spec.securityContext"
	if s == nil {
		return
	}
	e.validateIDs(at, s.RunAsUser, s.RunAsGroup)
	for i, group := range s.SupplementalGroups {
		e.check(fmt.Sprintf("%s.supplementalGroups[%d]", at, i), validation.IsValidGroupID(group))
	}
	if s.FSGroup != nil {
		e.check(at+".fsGroup", validation.IsValidGroupID(*s.FSGroup))
	}
	if s.SupplementalGroupsPolicy != nil {
		oneOf(e, at+".supplementalGroupsPolicy", *s.SupplementalGroupsPolicy, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	if s.FSGroupChangePolicy != nil {
		oneOf(e, at+".fsGroupChangePolicy", *s.FSGroupChangePolicy, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	}
	e.validateSeccomp(at+".seccompProfile", s.SeccompProfile)
	names := map[string]bool{}
	for i, sysctl := range s.Sysctls {
		field := fmt.Sprintf("%s.sysctls[%d]", at, i)
		name := strings.ReplaceAll(sysctl.Name, "/", ".")
		if !slices.Contains(sysctls(), name) {
			e.add(field+".name", "%q is not supported; these are: %s", sysctl.Name, strings.Join(sysctls(), ", "))
		}
		e.unique(field+".name", name, names)
		if strings.ContainsAny(sysctl.Value, "\n\x00") || strings.TrimSpace(sysctl.Value) == "" {
			e.add(field+".value", "%q can't be a value", sysctl.Value)
		}
	}
}

// validateSecurity is given the contexts of the pod and of the container at that field.
func (e *ManifestError) validateSecurity(at string, pod *corev1.PodSecurityContext, own *corev1.SecurityContext) {
	if own == nil {
		own = &corev1.SecurityContext{}
	}
	e.validateIDs(at, own.RunAsUser, own.RunAsGroup)
	e.validateSeccomp(at+".seccompProfile", own.SeccompProfile)
	user, nonRoot := own.RunAsUser, own.RunAsNonRoot
	if pod != nil {
		user, nonRoot = first(user, pod.RunAsUser), first(nonRoot, pod.RunAsNonRoot)
	}
	if user != nil && *user == 0 && isTrue(nonRoot) {
		e.add(at+".runAsUser", "0 is root, which runAsNonRoot forbids")
	}
	if own.Capabilities == nil {
		return
	}
	for i, name := range own.Capabilities.Add {
		field := fmt.Sprintf("%s.capabilities.add[%d]", at, i)
		if capability(name) == allCapabilities {
			e.add(field, "ALL is not supported: what it means differs from node to node; name those that are needed")
			continue
		}
		e.validateCapability(field, name)
	}
	for i, name := range own.Capabilities.Drop {
		if capability(name) != allCapabilities {
			e.validateCapability(fmt.Sprintf("%s.capabilities.drop[%d]", at, i), name)
		}
	}
	if own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation && slices.Contains(grant(own.Capabilities), "CAP_SYS_ADMIN") {
		e.add(at+".allowPrivilegeEscalation", "false contradicts the capability SYS_ADMIN")
	}
}

func (e *ManifestError) validateIDs(at string, user, group *int64) {
	if user != nil {
		e.check(at+".runAsUser", validation.IsValidUserID(*user))
	}
	if group != nil {
		e.check(at+".runAsGroup", validation.IsValidGroupID(*group))
	}
}

func (e *ManifestError) validateSeccomp(at string, p *corev1.SeccompProfile) {
	if p == nil {
		return
	}
	if p.Type == "" {
		e.add(at+".type", "required")
	}
	oneOf(e, at+".type", p.Type, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined, corev1.SeccompProfileTypeLocalhost)
	switch file := p.LocalhostProfile; {
	case p.Type == corev1.SeccompProfileTypeLocalhost && (file == nil || !localPath(*file)):
		e.add(at+".localhostProfile", "the path of a profile is required, without ..")
	case p.Type != corev1.SeccompProfileTypeLocalhost && file != nil:
		e.add(at+".localhostProfile", "only with type Localhost")
	}
}

// localPath tells whether a path stays below where it begins, links aside.
func localPath(name string) bool {
	return name != "" && !path.IsAbs(name) && !slices.Contains(strings.Split(name, "/"), "..")
}
