package state

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// using is a pod at a node with a volume.
func using(name, uid, node, volume string) CreatePod {
	return CreatePod{
		Name: name, UID: uid, Node: node, Containers: testContainers, Manifest: json.RawMessage(`{}`), Needs: Needs{Volumes: []string{volume}},
	}
}

func TestVolumeGoesWithItsPodAndOutlivesIt(t *testing.T) {
	m := small(t)
	at := func(node, pod string) {
		t.Helper()
		v, ok := m.View().Volume("data")
		require.True(t, ok)
		require.Equal(t, Volume{Name: "data", Node: node, Pod: pod}, v)
	}
	must(t, m, using("db", "u-9", "ams", "data"))
	at("ams", "u-9")
	require.Contains(t, m.Apply(using("db2", "u-10", "ams", "data")).Reason, "used by pod db")

	must(t, m, Reserve{"m-1", "db", "ams", "fra", 0})
	at("ams", "u-9")
	must(t, m, Activate{"m-1", "fra", 2})
	at("fra", "u-9")
	must(t, m, Return{Migration: "m-1", Node: "fra"})
	at("ams", "u-9")

	must(t, m, Reserve{"m-2", "db", "ams", "fra", 0})
	must(t, m, Activate{"m-2", "fra", 4})
	must(t, m, Complete{Migration: "m-2", Node: "fra"})
	require.Contains(t, m.Apply(DeleteVolume{"data", "fra"}).Reason, "used by pod db")
	must(t, m, DeletePod{"db", "u-9"})
	at("fra", "")

	require.Contains(t, m.Apply(using("db", "u-11", "ams", "data")).Reason, "at fra, not at ams")
	require.Contains(t, m.Apply(ForgetNode{Name: "fra"}).Reason, "still has volume data")
	require.Contains(t, m.Apply(DeleteVolume{"data", "ams"}).Reason, "at fra")
	again, err := restored(m)
	require.NoError(t, err)
	require.Equal(t, m.View().Volumes(), again.View().Volumes())
	must(t, m, DeleteVolume{"data", "fra"})
	must(t, m, DeleteVolume{"data", "fra"})
	require.Empty(t, m.View().Volumes())
	must(t, m, using("db", "u-11", "ams", "data"))
	at("ams", "u-11")
}
