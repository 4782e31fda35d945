package state

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// contender is one of the commands that compete for a migration, in the answers that may decide it.
type contender struct {
	name    string
	command Command
}

// contenders are all that anybody might send about migration m-1 of the pod u-1 from ams to fra, of which each end, or both,
// were given up by the leader of term 3.
func contenders() []contender {
	at := time.Unix(3, 0)
	return []contender{
		{"Activate", Activate{"m-1", "fra", 2}},
		{"Abort", Abort{Migration: "m-1", UID: "u-1", Epoch: 2}},
		{"Complete", Complete{"m-1", "fra"}},
		{"Return", Return{Migration: "m-1", Node: "fra", Reason: "restore failed"}},
		{"source lost", AbortAndFailover{"m-1", "u-1", 1, "ams", "nyc", false, 3, at, "lost"}},
		{"target lost", AbortAndFailover{"m-1", "u-1", 2, "fra", "ams", false, 3, at, "lost"}},
		{"both lost", AbortAndFailover{"m-1", "u-1", 2, "fra", "nyc", true, 3, at, "lost"}},
	}
}

// TestFirstDecides lets all that compete for a migration come in every order, each twice, and what the leader of an earlier reign had
// decided. Of those that decide the phase that the migration is in, the first does, and all others are refused for ever.
func TestFirstDecides(t *testing.T) {
	ends := map[MigrationPhase]int{}
	permute(contenders(), func(order []contender) {
		m, w := reserved(t), newWatcher()
		require.NoError(t, w.check(m.View()))
		phase := Reserved
		won := map[string]bool{}
		deposed := contender{"deposed", AbortAndFailover{"m-1", "u-1", 1, "ams", "fra", false, 2, time.Unix(3, 0), "lost"}}
		for _, c := range slices.Concat([]contender{deposed}, order, []contender{deposed}, order) {
			next, ok := decides(phase, c.name)
			r := m.Apply(c.command)
			if want := ok || again(phase, c.name, won[c.name]); r.OK != want {
				t.Fatalf("%s in %s, of %v: %+v", c.name, phase, names(order), r)
			}
			if ok {
				phase, won[c.name] = next, true
			}
			if g, _ := m.View().Migration("m-1"); g.Phase != phase {
				t.Fatalf("%s left %s, not %s, of %v", c.name, g.Phase, phase, names(order))
			}
			if err := w.check(m.View()); err != nil {
				t.Fatalf("%s of %v: %v", c.name, names(order), err)
			}
		}
		ends[phase]++
	})
	for _, phase := range []MigrationPhase{Done, Returned, Aborted, FailedOver} {
		require.NotZero(t, ends[phase], "%v", ends)
	}
}

// decides says to which phase a command takes a migration that is in a phase, if it decides it.
func decides(phase MigrationPhase, name string) (MigrationPhase, bool) {
	next, ok := map[MigrationPhase]map[string]MigrationPhase{
		Reserved:  {"Activate": Activated, "Abort": Aborted, "source lost": Aborted},
		Activated: {"Complete": Done, "Return": Returned, "target lost": FailedOver, "both lost": FailedOver},
	}[phase][name]
	return next, ok
}

// again says whether a command that decides nothing is told that what it asks for is so: one that won is, but for an Activate of
// a target that has lost the pod, and an Abort is whenever the migration is aborted.
func again(phase MigrationPhase, name string, won bool) bool {
	switch name {
	case "Activate":
		return won && (phase == Activated || phase == Done)
	case "Abort":
		return phase == Aborted
	}
	return won
}

// reserved is a machine with one migration.
func reserved(t *testing.T) *Machine {
	m := New()
	for _, c := range []Command{
		SetMesh{PodCIDR: netip.MustParsePrefix("10.88.0.0/16")},
		RegisterNode{Node{Name: "ams", Site: "a"}}, RegisterNode{Node{Name: "fra", Site: "f"}}, RegisterNode{Node{Name: "nyc", Site: "n"}},
		CreatePod{Name: "redis", UID: "u-1", Node: "ams", Containers: testContainers, Manifest: []byte(`{}`), Failover: FailoverRestart},
		Reign{Server: "ams", Term: 2}, Reign{Server: "nyc", Term: 3},
		Reserve{"m-1", "redis", "ams", "fra", 0},
	} {
		require.True(t, m.Apply(c).OK, "%#v", c)
	}
	return m
}

// permute calls f with every order of all.
func permute[T any](all []T, f func([]T)) {
	var from func(int)
	from = func(i int) {
		if i == len(all) {
			f(all)
			return
		}
		for j := i; j < len(all); j++ {
			all[i], all[j] = all[j], all[i]
			from(i + 1)
			all[i], all[j] = all[j], all[i]
		}
	}
	from(0)
}

func names(order []contender) string {
	var all []string
	for _, c := range order {
		all = append(all, c.name)
	}
	return strings.Join(all, ", ")
}
