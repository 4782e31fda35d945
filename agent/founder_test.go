package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drover-mesh/drover/configs"
	"github.com/drover-mesh/drover/state/quorum"
)

func TestAMeshThatOneServerBeginsIsBegunOnce(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		servers []string
		want    []quorum.Server
	}{
		{[]string{"ams"}, nil},
		{[]string{"ams", "fra"}, []quorum.Server{{Name: "ams"}, {Name: "fra"}}}, // the other has a say
		{[]string{"fra"}, []quorum.Server{{Name: "fra"}}},                       // it only says whom to ask
		{nil, nil},
	} {
		config := configs.Config{Node: "ams", Identity: dir, Servers: c.servers}
		before, err := founders(config)
		require.NoError(t, err)
		require.Len(t, before, len(c.servers))
		require.NoError(t, markFounded(config))
		after, err := founders(config)
		require.NoError(t, err)
		require.Equal(t, c.want, after, c.servers)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, foundedMark)))
	}
	_, err := founders(configs.Config{Node: "ams", Identity: filepath.Join(dir, "a\x00b"), Servers: []string{"ams"}})
	require.Error(t, err)
	require.Error(t, markFounded(configs.Config{Node: "ams", Identity: filepath.Join(dir, "none"), Servers: []string{"ams"}}))
}
