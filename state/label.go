package state

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The labels that every node has by itself. Nobody can set them, nor others with the prefix drover.dev/.
const (
	LabelNodeName = "drover.dev/node"
	LabelSite     = "drover.dev/site"
	// The two of Kubernetes that mean the same everywhere (k8s.io/api, core/v1, well_known_labels.go).
	LabelArch     = "kubernetes.io/arch"
	LabelHostname = "kubernetes.io/hostname"
)

// maxLabels is how many labels a node may have of its configuration, and as many again of operators.
const maxLabels = 64

// Labels returns all labels of the node: those that it has by itself, then those that operators set, then those of its
// configuration file; of two with the same key the first counts. The map is the caller's.
func (n Node) Labels() map[string]string {
	all := map[string]string{}
	maps.Copy(all, n.Configured)
	maps.Copy(all, n.Set)
	all[LabelNodeName], all[LabelHostname], all[LabelSite], all[LabelArch] = n.Name, n.Name, n.Site, n.Arch
	return all
}

// The form of labels is that of Kubernetes (k8s.io/apimachinery, pkg/util/validation).
var (
	labelName   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	labelPrefix = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// CheckLabel returns an error that says why nobody may give a node the label key=value. Names and values have at most 63
// letters, digits, and between them '-', '_' and '.'; before a name there may be a DNS subdomain and '/'.
func CheckLabel(key, value string) error {
	prefix, name, prefixed := strings.Cut(key, "/")
	if !prefixed {
		prefix, name = "", key
	}
	switch {
	case prefixed && (len(prefix) > maxName || !labelPrefix.MatchString(prefix)):
		return fmt.Errorf("the prefix %.80q is not valid", prefix)
	case !labelName.MatchString(name):
		return fmt.Errorf("the name %.80q is not valid", name)
	case value != "" && !labelName.MatchString(value):
		return fmt.Errorf("the value %.80q is not valid", value)
	case prefix == "drover.dev", key == LabelArch, key == LabelHostname:
		return errors.New("it is the node's own and can't be set")
	}
	return nil
}

func checkLabels(labels map[string]string) (reason string) {
	if len(labels) > maxLabels {
		return fmt.Sprintf("%d labels are more than the %d that a node may have", len(labels), maxLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if err := CheckLabel(key, labels[key]); err != nil {
			return fmt.Sprintf("label %.80s: %s", key, err)
		}
	}
	return ""
}

// LabelNode changes the labels that operators give to a node: it removes those of Remove, then sets those of Set. A
// label of the node's configuration file can be given another value, and has its own again once that is removed; only
// the file removes it. Twice is once.
type LabelNode struct {
	Name   string            `json:"name"`
	Set    map[string]string `json:"set,omitempty"`
	Remove []string          `json:"remove,omitempty"`
	// Overwrite allows to change the value of a label that operators have set.
	Overwrite bool `json:"overwrite,omitempty"`
}

// Kind implements [Command].
func (LabelNode) Kind() Kind { return KindLabelNode }

func (c LabelNode) apply(m *Machine) Result {
	n, ok := m.t.nodes[c.Name]
	if !ok {
		return refused("%s", unknownNode(c.Name))
	}
	set := map[string]string{}
	maps.Copy(set, n.Set)
	for _, key := range c.Remove {
		if _, ours := set[key]; !ours {
			if _, theirs := n.Configured[key]; theirs {
				return refused("label %s of node %s is of its configuration file", key, c.Name).
					withCure("remove it there and restart the agent, or give it another value here")
			}
			if err := CheckLabel(key, ""); err != nil {
				return refused("label %.80s: %s", key, err)
			}
		}
		delete(set, key)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Set)) {
		value := c.Set[key]
		if err := CheckLabel(key, value); err != nil {
			return refused("label %.80s: %s", key, err)
		}
		if before, ok := set[key]; ok && before != value && !c.Overwrite {
			return refused("node %s has the label %s=%s already", c.Name, key, before).withCure("to change it add --overwrite")
		}
		set[key] = value
	}
	if reason := checkLabels(set); reason != "" {
		return refused("node %s: %s", c.Name, reason)
	}
	if len(set) == 0 {
		set = nil // as after a snapshot
	}
	n.Set = set
	m.putNode(n)
	return Result{OK: true}
}
