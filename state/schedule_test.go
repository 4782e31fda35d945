package state

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const gib = 1 << 30

// three is a mesh of ams1 and ams2 at one site, fra and nyc, alike, each with 4 cores and 8 GiB, after more commands.
func three(t *testing.T, more ...Command) View {
	m := New()
	must(t, m, SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	for _, name := range []string{"ams1", "ams2", "fra", "nyc"} {
		must(t, m, RegisterNode{host(name)})
	}
	for _, c := range more {
		must(t, m, c)
	}
	return m.View()
}

func host(name string, edit ...func(*Node)) Node {
	n := Node{
		Name: name, Site: "at-" + strings.TrimRight(name, "12"), Arch: "amd64", CRIU: "4.2.1", CPUFlags: []string{"avx", "avx2", "sse4_2"},
		Capacity: Resources{CPU: 4000, Memory: 8 * gib},
	}
	for _, e := range edit {
		e(&n)
	}
	return n
}

func placedAt(node, name string, needs Needs) Command {
	return CreatePod{Name: name, UID: "u-" + name, Node: node, Containers: testContainers, Manifest: json.RawMessage(`{}`), Needs: needs}
}

// in words: "fra 80 | nyc: it is cordoned".
func words(d Decision) string {
	var all []string
	for _, f := range d.Nodes {
		if f.Fits {
			all = append(all, fmt.Sprintf("%s %d", f.Node, f.Score))
		} else {
			all = append(all, f.Node+": "+strings.Join(f.Reasons, ", "))
		}
	}
	return strings.Join(all, " | ")
}

func TestScheduleANewPod(t *testing.T) {
	for name, c := range map[string]struct {
		mesh []Command
		r    Request
		want string
	}{
		"equals by name": {
			want: "ams1 97 | ams2 97 | fra 97 | nyc 97",
		},
		"the least loaded": {
			mesh: []Command{placedAt("ams1", "a", Needs{CPU: 2000, Memory: 2 * gib}), placedAt("ams2", "b", Needs{CPU: 1000}), placedAt("fra", "c", Needs{Memory: 4 * gib})},
			r:    Request{Needs: Needs{CPU: 500, Memory: gib}},
			want: "nyc 87 | ams2 73 | fra 61 | ams1 49",
		},
		"pods that request nothing count": {
			mesh: []Command{placedAt("ams1", "a", Needs{}), placedAt("ams1", "b", Needs{}), placedAt("ams2", "c", Needs{}), placedAt("fra", "d", Needs{}), placedAt("nyc", "e", Needs{CPU: 4000})},
			want: "ams2 95 | fra 95 | ams1 92 | nyc 47",
		},
		"the site asked for": {
			r:    Request{To: "at-ams"},
			want: "ams1 97 | ams2 97",
		},
		"the node asked for": {
			r:    Request{To: "fra"},
			want: "fra 97",
		},
		"nowhere": {
			r:    Request{To: "mars"},
			want: "",
		},
		"closed nodes": {
			mesh: []Command{CordonNode{"ams1", true}},
			r: Request{
				Exclude: map[string]string{"fra": "it has refused the pod"},
				Ready: func(node string) string {
					if node == "ams2" {
						return "it does not answer"
					}
					return ""
				},
			},
			want: "nyc 97 | ams1: it is cordoned | ams2: it does not answer | fra: it has refused the pod",
		},
		"a node that is about to be opened": {
			mesh: []Command{CordonNode{"ams1", true}, CordonNode{"fra", true}},
			r:    Request{Open: "fra"},
			want: "ams2 97 | fra 97 | nyc 97 | ams1: it is cordoned",
		},
		"no room": {
			mesh: []Command{
				placedAt("ams1", "a", Needs{CPU: 3500}), placedAt("ams2", "b", Needs{Memory: 7*gib + gib/2}), placedAt("fra", "c", Needs{CPU: 4000, Memory: 8 * gib}),
			},
			r: Request{Needs: Needs{CPU: 750, Memory: gib}},
			want: "nyc 84 | ams1: 750m CPU is requested, and 500m of 4 is free | ams2: 1024 MiB of memory is requested, and 512 MiB of 8192 MiB is free | " +
				"fra: 750m CPU is requested, and 0 of 4 is free; 1024 MiB of memory is requested, and 0 of 8192 MiB is free",
		},
		"a full node takes who requests nothing": {
			mesh: []Command{placedAt("ams1", "a", Needs{CPU: 4000, Memory: 8 * gib})},
			r:    Request{To: "ams1"},
			want: "ams1 0",
		},
		"selectors": {
			mesh: []Command{
				RegisterNode{host("ams1", func(n *Node) { n.Configured = map[string]string{"disk": "ssd", "rack": "r1"} })},
				RegisterNode{host("ams2", func(n *Node) { n.Configured = map[string]string{"disk": "hdd"} })},
				LabelNode{Name: "ams2", Set: map[string]string{"rack": "r1"}},
				LabelNode{Name: "fra", Set: map[string]string{"disk": "ssd"}},
			},
			r:    Request{Needs: Needs{Selector: map[string]string{"disk": "ssd", "rack": "r1", LabelArch: "amd64"}}},
			want: "ams1 97 | ams2: its label disk is hdd, not ssd | fra: it lacks the label rack=r1 | nyc: it lacks the label disk=ssd, it lacks the label rack=r1",
		},
		"labels that every node has": {
			r: Request{Needs: Needs{Selector: map[string]string{LabelSite: "at-fra", LabelHostname: "fra", LabelNodeName: "fra"}}},
			want: "fra 97 | ams1: its label drover.dev/node is ams1, not fra, its label drover.dev/site is at-ams, not at-fra, its label kubernetes.io/hostname is ams1, not fra | " +
				"ams2: its label drover.dev/node is ams2, not fra, its label drover.dev/site is at-ams, not at-fra, its label kubernetes.io/hostname is ams2, not fra | " +
				"nyc: its label drover.dev/node is nyc, not fra, its label drover.dev/site is at-nyc, not at-fra, its label kubernetes.io/hostname is nyc, not fra",
		},
		"beside its volume": {
			mesh: []Command{placedAt("fra", "a", Needs{CPU: 3000, Volumes: []string{"data"}}), DeletePod{"a", "u-a"}},
			r:    Request{Needs: Needs{Volumes: []string{"data", "other"}}},
			want: "fra 97 | ams1: volume data is at fra | ams2: volume data is at fra | nyc: volume data is at fra",
		},
		"a volume that another uses": {
			mesh: []Command{placedAt("fra", "a", Needs{Volumes: []string{"data"}})},
			r:    Request{Needs: Needs{Volumes: []string{"data"}}, To: "fra"},
			want: "fra: volume data is used by another pod",
		},
		"what comes and what leaves takes room": {
			mesh: []Command{placedAt("ams1", "a", Needs{CPU: 4000}), Reserve{"m-1", "a", "ams1", "fra", 0}},
			r:    Request{Needs: Needs{CPU: 1000}},
			want: "ams2 86 | nyc 86 | ams1: 1 CPU is requested, and 0 of 4 is free | fra: 1 CPU is requested, and 0 of 4 is free",
		},
		"what is planned takes room": {
			mesh: []Command{placedAt("ams1", "a", Needs{CPU: 4000})},
			r:    Request{Needs: Needs{CPU: 1000}, Planned: map[string]string{"u-a": "fra"}},
			want: "ams2 86 | nyc 86 | ams1: 1 CPU is requested, and 0 of 4 is free | fra: 1 CPU is requested, and 0 of 4 is free",
		},
		"pinned to where it will be": {
			r:    Request{Needs: Needs{Pinned: "hostPath"}, To: "nyc"},
			want: "nyc 97",
		},
		"unknown capacity is the last choice": {
			mesh: []Command{RegisterNode{host("ams1", func(n *Node) { n.Capacity = Resources{} })}, placedAt("ams2", "a", Needs{CPU: 2000})},
			r:    Request{Needs: Needs{CPU: 99_000}},
			want: "ams1 0 | ams2: 99 CPU is requested, and 2 of 4 is free | fra: 99 CPU is requested, and 4 of 4 is free | nyc: 99 CPU is requested, and 4 of 4 is free",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := Schedule(three(t, c.mesh...), c.r)
			require.Equal(t, c.want, words(d))
			if first, _, _ := strings.Cut(c.want, " "); strings.HasSuffix(first, ":") {
				require.Empty(t, d.Node)
			} else {
				require.Equal(t, first, d.Node)
			}
		})
	}
}

func TestScheduleAPodThatRuns(t *testing.T) {
	lesser := func(n *Node) { n.CPUFlags = []string{"sse4_2"} }
	for name, c := range map[string]struct {
		needs Needs
		mesh  []Command
		r     Request
		want  string
	}{
		"its own site among equals": {
			want: "ams2 97 | fra 97 | nyc 97 | ams1: the pod is there",
		},
		"fewer pods among equals": {
			mesh: []Command{
				placedAt("ams2", "a", Needs{CPU: 200, Memory: 400 << 20}), placedAt("fra", "b", Needs{}), placedAt("fra", "c", Needs{}),
				placedAt("nyc", "d", Needs{CPU: 200, Memory: 400 << 20}), CordonNode{"ams2", true},
			},
			want: "nyc 92 | fra 92 | ams1: the pod is there | ams2: it is cordoned",
		},
		"its own room counts once": {
			needs: Needs{CPU: 4000},
			r:     Request{Planned: map[string]string{"u-redis": "fra"}},
			want:  "ams2 49 | fra 49 | nyc 49 | ams1: the pod is there",
		},
		"a lesser CPU": {
			mesh: []Command{RegisterNode{host("ams2", lesser)}, RegisterNode{host("fra", func(n *Node) { n.CPUFlags = nil })}},
			want: "fra 97 | nyc 97 | ams1: the pod is there | ams2: its CPU lacks what that of ams1 has: avx, avx2",
		},
		"a lesser CPU by far": {
			mesh: []Command{
				RegisterNode{host("ams1", func(n *Node) { n.CPUFlags = strings.Split("abcdefghij", "") })}, RegisterNode{host("fra", lesser)},
			},
			r:    Request{To: "fra"},
			want: "fra: its CPU lacks what that of ams1 has: a, b, c, d, e, f and 4 more",
		},
		"another architecture": {
			mesh: []Command{RegisterNode{host("ams2", lesser, func(n *Node) { n.Arch = "arm64" })}},
			want: "fra 97 | nyc 97 | ams1: the pod is there | ams2: it is arm64, and the pod runs on amd64",
		},
		"versions of CRIU": {
			mesh: []Command{
				RegisterNode{host("ams2", func(n *Node) { n.CRIU = "4.2" })}, RegisterNode{host("fra", func(n *Node) { n.CRIU = "4.10.0" })},
				RegisterNode{host("nyc", func(n *Node) { n.CRIU = "" })},
			},
			want: "fra 97 | nyc 97 | ams1: the pod is there | ams2: its CRIU 4.2 is older than the 4.2.1 of ams1",
		},
		"pinned": {
			needs: Needs{Pinned: "it mounts /data of its host"},
			want: "ams1: the pod is there | ams2: the pod can't leave ams1: it mounts /data of its host | fra: the pod can't leave ams1: it mounts /data of its host | " +
				"nyc: the pod can't leave ams1: it mounts /data of its host",
		},
		"its volume goes with it": {
			needs: Needs{Volumes: []string{"data"}},
			want:  "ams2 97 | fra 97 | nyc 97 | ams1: the pod is there",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := three(t, append([]Command{placedAt("ams1", "redis", c.needs)}, c.mesh...)...)
			pod, _ := v.Pod("redis")
			c.r.Pod = &pod
			require.Equal(t, c.want, words(Schedule(v, c.r)))
		})
	}
}

func TestWhyAScoreIsWhatItIs(t *testing.T) {
	d := Schedule(three(t, placedAt("fra", "a", Needs{CPU: 1000, Memory: 2 * gib})), Request{Needs: Needs{CPU: 1000, Memory: gib}, To: "fra"})
	require.Equal(t, []string{"2 pods with it, taking 50 % of the CPU and 38 % of the memory"}, d.Nodes[0].Reasons)
	d = Schedule(three(t, RegisterNode{Node{Name: "old", Site: "old"}}), Request{To: "old"})
	require.Equal(t, []string{"1 pod with it; the node has not said what it has"}, d.Nodes[0].Reasons)
}

func TestScheduleInAnEmptyMesh(t *testing.T) {
	require.Equal(t, Decision{}, Schedule(View{}, Request{}))
	require.Equal(t, Decision{}, Schedule(View{}, Request{Pod: &Pod{Node: "gone"}}))
}
