package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// small returns a machine with three nodes and a pod redis at ams.
func small(t *testing.T) *Machine {
	m := New()
	must(t, m, SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	for _, n := range []Node{{Name: "nyc", Site: "us"}, {Name: "ams", Site: "eu"}, {Name: "fra", Site: "eu"}} {
		must(t, m, RegisterNode{n})
	}
	must(t, m, CreatePod{
		Name: "redis", UID: "u-1", Node: "ams", Containers: testContainers, Created: time.Now(),
		Manifest: json.RawMessage("{\n \"kind\": \"Pod\" }"),
	})
	return m
}

func must(t *testing.T, m *Machine, c Command) Result {
	t.Helper()
	r := m.Apply(c)
	require.True(t, r.OK, "%#v: %s", c, r.Reason)
	return r
}

func TestAViewNeverChanges(t *testing.T) {
	m := small(t)
	before := m.View()
	must(t, m, Reserve{"m-1", "redis", "ams", "fra", 0})
	must(t, m, Activate{"m-1", "fra", 2})
	must(t, m, RegisterNode{Node{Name: "syd", Site: "au"}})

	pod, ok := before.Pod("redis")
	require.True(t, ok)
	require.Equal(t, "ams", pod.Node)
	require.Empty(t, before.Migrations())
	require.Len(t, before.Nodes(), 3)
	require.Equal(t, before.Index()+3, m.View().Index())

	// What a view or a result hands out is the caller's.
	before.Pods()[0].Node = "nyc"
	r := must(t, m, Complete{"m-1", "fra"})
	r.Pod.Node, r.Migration.Phase = "nyc", Aborted
	pod, _ = m.View().Pod("redis")
	require.Equal(t, "fra", pod.Node)
	g, _ := m.View().Migration("m-1")
	require.Equal(t, Done, g.Phase)
}

func TestViewsAreSorted(t *testing.T) {
	v := small(t).View()
	names := func(nodes []Node) (names []string) {
		for _, n := range nodes {
			names = append(names, n.Name)
		}
		return names
	}
	require.Equal(t, []string{"ams", "fra", "nyc"}, names(v.Nodes()))
	require.Equal(t, []string{"ams", "fra"}, names(v.NodesAt("eu")))
	require.Empty(t, v.NodesAt("mars"))
}

func TestTheZeroViewKnowsNothing(t *testing.T) {
	var v View
	require.Empty(t, v.Pods())
	require.Empty(t, v.Duties("ams"))
	require.False(t, v.Owns("ams", "u-1", 1))
	require.False(t, v.PodCIDR().IsValid())
}

func TestOnlyTheLatestFinishedMigrationsAreKept(t *testing.T) {
	m := small(t)
	for i := range FinishedMigrations + 10 {
		id := fmt.Sprintf("m-%03d", i)
		must(t, m, Reserve{id, "redis", "ams", "fra", 0})
		must(t, m, Abort{Migration: id, Reason: "test"})
	}
	all := m.View().Migrations()
	require.Len(t, all, FinishedMigrations)
	require.Equal(t, "m-010", all[0].ID)

	// One that is forgotten can be aborted again by who knows the epoch, and that changes nothing.
	require.False(t, m.Apply(Abort{Migration: "m-003"}).OK)
	require.True(t, m.Apply(Abort{Migration: "m-003", UID: "u-1", Epoch: 2}).OK)
}

func TestOutcomesAreForgottenInOrder(t *testing.T) {
	m := small(t)
	for i := range Outcomes + 5 {
		m.ApplyOnce(fmt.Sprintf("p-%d", i), ForgetNode{Name: "mars"})
	}
	require.Len(t, m.t.outcomes, Outcomes)
	require.Len(t, m.seen, Outcomes)
	require.NotContains(t, m.seen, "p-4")
	require.Contains(t, m.seen, "p-5")
}

func TestManifestsAreKeptCompactAndUnescaped(t *testing.T) {
	m := small(t)
	must(t, m, CreatePod{
		Name: "web", UID: "u-2", Node: "ams", Containers: testContainers,
		Manifest: json.RawMessage(` {"args" : ["<a>&b", 12345678901234567890] } `),
	})
	pod, _ := m.View().Pod("web")
	require.Equal(t, `{"args":["<a>&b",12345678901234567890]}`, string(pod.Manifest))
	other, err := restored(m)
	require.NoError(t, err)
	again, _ := other.View().Pod("web")
	require.Equal(t, pod, again)
}

func TestCreatePodRefusesWhatCannotBeKept(t *testing.T) {
	good := CreatePod{Name: "web", UID: "u-2", Node: "ams", Containers: testContainers, Manifest: json.RawMessage(`{}`)}
	for name, spoil := range map[string]func(*CreatePod){
		"no manifest":           func(c *CreatePod) { c.Manifest = nil },
		"manifest null":         func(c *CreatePod) { c.Manifest = json.RawMessage(`[]`) },
		"half a manifest":       func(c *CreatePod) { c.Manifest = json.RawMessage(`{"a":`) },
		"no image":              func(c *CreatePod) { c.Containers = nil },
		"image of another hash": func(c *CreatePod) { c.Containers = on("md5:00") },
		"short image":           func(c *CreatePod) { c.Containers = on("sha256:00") },
		"upper-case image":      func(c *CreatePod) { c.Containers = on(Digest("sha256:" + strings.Repeat("AB", 32))) },
		"year 10000":            func(c *CreatePod) { c.Created = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"year -1 in UTC":        func(c *CreatePod) { c.Created = time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)) },
		"name too long":         func(c *CreatePod) { c.Name = strings.Repeat("a", 254) },
	} {
		m, c := small(t), good
		spoil(&c)
		r := m.Apply(c)
		require.False(t, r.OK, name)
		require.NotEmpty(t, r.Reason, name)
		_, err := restored(m)
		require.NoError(t, err, name)
	}
	require.True(t, small(t).Apply(good).OK)
}

func TestFreeTextIsClipped(t *testing.T) {
	m := small(t)
	must(t, m, Reserve{"m-1", "redis", "ams", "fra", 0})
	r := must(t, m, Abort{Migration: "m-1", Reason: "bad \xff " + strings.Repeat("é", maxReason)})
	require.LessOrEqual(t, len(r.Migration.Reason), maxReason+8)
	require.True(t, strings.HasPrefix(r.Migration.Reason, "bad \uFFFD é"))
	_, err := restored(m)
	require.NoError(t, err)
}

func TestRestoreIsAllOrNothing(t *testing.T) {
	m := small(t)
	var b bytes.Buffer
	require.NoError(t, m.Snapshot(&b))
	whole := b.String()
	for _, data := range []string{
		"", "{}", "null", whole[:len(whole)/2], whole + "{}",
		strings.Replace(whole, `"version":1`, `"version":2`, 1),
		strings.Replace(whole, `"index"`, `"indices"`, 1),
	} {
		require.Error(t, m.Restore(strings.NewReader(data)), "%.40q", data)
		require.Len(t, m.View().Pods(), 1)
	}
	require.NoError(t, m.Restore(strings.NewReader(whole)))
}

func TestAMeshKeepsItsFirstID(t *testing.T) {
	m := New()
	must(t, m, SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")})
	if id := m.View().MeshID(); id != "" {
		t.Errorf("an agent that gives no ID gave it %q", id)
	}
	for _, id := range []string{"a", "b", ""} {
		must(t, m, SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), ID: id})
	}
	if r := m.Apply(SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16"), ID: "no name"}); r.OK {
		t.Error("it takes any ID")
	}
	if id := m.View().MeshID(); id != "a" {
		t.Errorf("its ID became %q", id)
	}
}
