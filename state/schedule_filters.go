package state

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// filter says, for people, why a pod can't run on a node of which that much is taken; nothing if it can.
type filter func(s scheduler, n Node, taken Allocation) (reasons []string)

// filters are all that a node has to pass, in the order in which a person would ask.
func filters() []filter {
	return []filter{away, ready, uncordoned, selected, unpinned, besideVolumes, roomy, sameArch, sameFlags, sameCRIU}
}

func away(s scheduler, n Node, _ Allocation) []string {
	if n.Name == s.from.Name {
		return []string{"the pod is there"}
	}
	if why, excluded := s.Exclude[n.Name]; excluded {
		return []string{why}
	}
	return nil
}

func ready(s scheduler, n Node, _ Allocation) []string {
	if s.Ready == nil {
		return nil
	}
	if why := s.Ready(n.Name); why != "" {
		return []string{why}
	}
	return nil
}

func uncordoned(s scheduler, n Node, _ Allocation) []string {
	if n.Cordoned && n.Name != s.Open {
		return []string{"it is cordoned"}
	}
	return nil
}

func selected(s scheduler, n Node, _ Allocation) (reasons []string) {
	labels := n.Labels()
	for _, key := range slices.Sorted(maps.Keys(s.Needs.Selector)) {
		want := s.Needs.Selector[key]
		switch has, ok := labels[key]; {
		case !ok:
			reasons = append(reasons, fmt.Sprintf("it lacks the label %s=%s", key, want))
		case has != want:
			reasons = append(reasons, fmt.Sprintf("its label %s is %s, not %s", key, has, want))
		}
	}
	return reasons
}

func unpinned(s scheduler, n Node, _ Allocation) []string {
	if s.Pod != nil && s.Needs.Pinned != "" && n.Name != s.Pod.Node {
		return []string{fmt.Sprintf("the pod can't leave %s: %s", s.Pod.Node, s.Needs.Pinned)}
	}
	return nil
}

// besideVolumes keeps a new pod where its volumes are. Those of a pod that moves go with it.
func besideVolumes(s scheduler, n Node, _ Allocation) (reasons []string) {
	for _, name := range s.Needs.Volumes {
		volume, ok := s.view.Volume(name)
		switch {
		case !ok || volume.Pod == s.uid() && s.Pod != nil:
		case volume.Pod != "":
			reasons = append(reasons, fmt.Sprintf("volume %s is used by another pod", name))
		case volume.Node != n.Name:
			reasons = append(reasons, fmt.Sprintf("volume %s is at %s", name, volume.Node))
		}
	}
	return reasons
}

func roomy(s scheduler, n Node, taken Allocation) []string {
	if lack := n.lacks(taken.Requested, s.Needs); lack != "" {
		return []string{lack}
	}
	return nil
}

// Processes of a pod that runs have found the features of their CPU at their start, and go on using them.

func sameArch(s scheduler, n Node, _ Allocation) []string {
	if n.Name != s.from.Name && s.from.Arch != "" && n.Arch != s.from.Arch {
		return []string{fmt.Sprintf("it is %s, and the pod runs on %s", n.Arch, s.from.Arch)}
	}
	return nil
}

// shownFlags is how many missing CPU flags are named.
const shownFlags = 6

func sameFlags(s scheduler, n Node, _ Allocation) []string {
	if s.Fresh || len(n.CPUFlags) == 0 || n.Arch != s.from.Arch { // unknown, or beside the point
		return nil
	}
	missing := slices.DeleteFunc(slices.Clone(s.from.CPUFlags), func(f string) bool { return slices.Contains(n.CPUFlags, f) })
	if len(missing) == 0 {
		return nil
	}
	named := strings.Join(missing[:min(len(missing), shownFlags)], ", ")
	if len(missing) > shownFlags {
		named += fmt.Sprintf(" and %d more", len(missing)-shownFlags)
	}
	return []string{fmt.Sprintf("its CPU lacks what that of %s has: %s", s.from.Name, named)}
}

func sameCRIU(s scheduler, n Node, _ Allocation) []string {
	if !s.Fresh && s.from.CRIU != "" && n.CRIU != "" && olderVersion(n.CRIU, s.from.CRIU) {
		return []string{fmt.Sprintf("its CRIU %s is older than the %s of %s", n.CRIU, s.from.CRIU, s.from.Name)}
	}
	return nil
}

// olderVersion compares versions of numbers between dots.
func olderVersion(a, b string) bool { return slices.Compare(numbers(a), numbers(b)) < 0 }

func numbers(version string) (parts []int) {
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part) // what isn't a number counts as 0
		parts = append(parts, n)
	}
	return parts
}
