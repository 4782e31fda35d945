package preflight

import "strings"

// namespaceName is for people.
func namespaceName(kind string) string {
	switch kind {
	case "mnt":
		return "mount"
	case "net":
		return "network"
	case "uts":
		return "host name"
	case "pid", "ipc":
		return strings.ToUpper(kind)
	}
	return kind
}

// checkNamespaces finds containers within the container. CRIU dumps the namespaces of the first process and, of the others,
// only what has to be the same (criu/namespaces.c, generate_ns_id); of nested network and mount namespaces it takes what
// this pod's network, which is not dumped, can't have.
func (l *look) checkNamespaces(p *process) error {
	if p.parent == nil || p.ended() {
		return nil
	}
	own, err := namespaces(p.pid, p.pid)
	if err != nil {
		return err
	}
	for _, kind := range namespaceKinds() {
		base, children := strings.CutSuffix(kind, "_for_children")
		if children && own[base] != p.container.namespaces[base] {
			continue // has been said
		}
		if own[kind] == "" || p.container.namespaces[kind] == "" || own[kind] == p.container.namespaces[kind] {
			continue
		}
		p.apart = p.apart || kind == "mnt"
		cure := "run it without containers or a sandbox of its own"
		if kind == "user" {
			cure += " (Chromium: --no-sandbox; Podman: not in a pod)"
		}
		l.refuse(p, cure, "it is in a %s namespace of its own", namespaceName(base))
	}
	return nil
}

// checkNamespaceFile looks at a descriptor of a namespace, "net:[4026531840]". Those of the container can be opened anew
// (criu/namespaces.c, dump_one_ns_file).
func (l *look) checkNamespaceFile(p *process, link string) {
	for _, known := range p.container.namespaces {
		if known == link {
			return
		}
	}
	kind, _, _ := strings.Cut(link, ":")
	l.refuse(p, "let it close the namespace when it has used it", "it has a %s namespace open that is not the container's", namespaceName(kind))
}
