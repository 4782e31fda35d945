package quorum

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func TestWipe(t *testing.T) {
	dir := t.TempDir()
	log := newLogger(testLog("ams"))
	for _, prepare := range []func(d *disk){
		func(*disk) {},
		func(*disk) { require.NoError(t, os.Rename(filepath.Join(dir, logDir), filepath.Join(dir, wipedDir))) },
		func(*disk) { require.NoError(t, os.RemoveAll(filepath.Join(dir, snapshotsDir))) },
	} {
		d, err := openDisk(dir, log)
		require.NoError(t, err)
		require.NoError(t, d.SetUint64([]byte("CurrentTerm"), 7))
		require.NoError(t, d.StoreLog(&raft.Log{Index: 1, Term: 7}))
		sink, err := d.snapshots.Create(1, 1, 7, raft.Configuration{}, 0, nil)
		require.NoError(t, err)
		require.NoError(t, sink.Close())
		require.NoError(t, d.Close())
		prepare(d)
		require.NoError(t, wipe(dir))
		require.False(t, remembers(dir))
		d, err = openDisk(dir, log)
		require.NoError(t, err)
		blank, err := d.blank()
		require.NoError(t, err)
		require.True(t, blank)
		require.NoError(t, d.Close())
	}
	require.NoError(t, os.Rename(filepath.Join(dir, logDir), filepath.Join(dir, wipedDir)))
	d, err := openDisk(dir, log) // the agent died amidst
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(dir, wipedDir))
	require.NoError(t, d.Close())
}

// TestATruncatedLogOpensAgain has a server lose the end of its log to another leader's, and restart. (raft-wal before
// 0.4.1 could not open such a log.)
func TestATruncatedLogOpensAgain(t *testing.T) {
	dir, log := t.TempDir(), newLogger(testLog("ams"))
	s, err := openLog(dir, log)
	require.NoError(t, err)
	for i := range uint64(10) {
		require.NoError(t, s.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: []byte("old")}))
	}
	require.NoError(t, s.DeleteRange(8, 10))
	require.NoError(t, s.StoreLog(&raft.Log{Index: 8, Term: 2, Data: []byte("new")}))
	require.NoError(t, s.Close())
	s, err = openLog(dir, log)
	require.NoError(t, err)
	defer s.Close()
	var l raft.Log
	for i := range uint64(7) {
		require.NoError(t, s.GetLog(i+1, &l))
		require.Equal(t, "old", string(l.Data))
	}
	require.NoError(t, s.GetLog(8, &l))
	require.Equal(t, "new", string(l.Data))
	require.ErrorIs(t, s.GetLog(9, &l), raft.ErrLogNotFound)
}
