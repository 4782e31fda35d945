package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/stretchr/testify/require"
)

// entries makes some of a term.
func entries(from, to, term uint64) (logs []*raft.Log) {
	for i := from; i <= to; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: []byte(strings.Repeat(fmt.Sprintf("%d.%d ", i, term), 20)), AppendedAt: time.Unix(int64(i), 0)})
	}
	return logs
}

// memory is all that a disk says to Raft.
type memory struct {
	Term, Voted uint64
	For         string
	Logs        []raft.Log
	Snapshot    string
}

func remembered(t *testing.T, d *disk) (m memory) {
	t.Helper()
	var err error
	m.Term, err = d.GetUint64([]byte("CurrentTerm"))
	require.NoError(t, err)
	m.Voted, err = d.GetUint64([]byte("LastVoteTerm"))
	require.NoError(t, err)
	candidate, err := d.Get([]byte("LastVoteCand"))
	require.NoError(t, err)
	m.For = string(candidate)
	first, err := d.FirstIndex()
	require.NoError(t, err)
	last, err := d.LastIndex()
	require.NoError(t, err)
	for i := first; i > 0 && i <= last; i++ {
		var l raft.Log
		require.NoError(t, d.GetLog(i, &l))
		m.Logs = append(m.Logs, l)
	}
	s, err := d.snapshots.newest()
	require.NoError(t, err)
	m.Snapshot = fmt.Sprintf("%+v", s)
	return m
}

// lived is the directory of a server that has voted, been overruled, and taken a snapshot.
func lived(t *testing.T) (dir string, want memory) {
	dir = t.TempDir()
	d, err := openDisk(dir, newLogger(testLog("ams")))
	require.NoError(t, err)
	require.NoError(t, d.SetUint64([]byte("CurrentTerm"), 7))
	require.NoError(t, d.SetUint64([]byte("LastVoteTerm"), 7))
	require.NoError(t, d.Set([]byte("LastVoteCand"), []byte("fra")))
	for i := uint64(1); i <= 40; i += 4 {
		require.NoError(t, d.StoreLogs(entries(i, i+3, 3)))
	}
	_, transport := raft.NewInmemTransport("ams")
	sink, err := d.snapshots.Create(1, 20, 3, raft.Configuration{Servers: []raft.Server{{ID: "ams", Address: "ams"}}}, 1, transport)
	require.NoError(t, err)
	_, err = sink.Write([]byte(strings.Repeat("state", 100)))
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	require.NoError(t, d.DeleteRange(1, 10))
	require.NoError(t, d.DeleteRange(36, 40))
	require.NoError(t, d.StoreLogs(entries(36, 37, 7)))
	want = remembered(t, d)
	require.Len(t, want.Logs, 27)
	require.NoError(t, d.Close())
	return dir, want
}

// TestNothingIsForgottenUnnoticed damages what a server has on its disk: it remembers all, or says that it doesn't.
func TestNothingIsForgottenUnnoticed(t *testing.T) {
	dir, want := lived(t)
	var files []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() != "lock" {
			files = append(files, path)
		}
		return err
	}))
	require.Len(t, files, 6, "two segments, two files beside them, and a snapshot in two: %v", files)
	noticed := map[string]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		path := files[r.IntN(len(files))]
		was, err := os.ReadFile(path)
		require.NoError(t, err)
		used := len(strings.TrimRight(string(was), "\x00"))
		is, how := append([]byte(nil), was...), "flipped"
		at := r.IntN(used)
		switch r.IntN(4) {
		case 0: // a bit
			is[at] ^= 1 << r.IntN(8)
		case 1: // a sector
			how = "zeroed"
			clear(is[at/512*512 : min(at/512*512+512, len(is))])
		case 2:
			how, is = "cut off", is[:at]
		case 3:
			for range 8 {
				is[r.IntN(used)] ^= byte(1 + r.IntN(255))
			}
		}
		require.NoError(t, os.WriteFile(path, is, 0o600))
		d, err := openDisk(dir, newLogger(testLog("ams")))
		if err == nil {
			require.Equal(t, want, remembered(t, d), "seed %d: %s %s at %d", seed, filepath.Base(path), how, at)
			require.NoError(t, d.Close())
		} else {
			require.ErrorIs(t, err, errDamaged, "seed %d: %s %s at %d", seed, filepath.Base(path), how, at)
			noticed[filepath.Base(path)]++
		}
		for _, name := range metaNames {
			require.NotContains(t, noticed, name, "one of them is enough")
		}
		if strings.HasPrefix(filepath.Base(path), "meta.") && filepath.Ext(path) != ".json" {
			continue // it mends the one by the other, so that they are as they were
		}
		require.NoError(t, os.WriteFile(path, was, 0o600))
	}
	require.Len(t, noticed, 4, "%v", noticed)
}

func TestBothFilesBesideTheLogAreDamaged(t *testing.T) {
	dir, _ := lived(t)
	for _, name := range metaNames {
		require.NoError(t, os.WriteFile(filepath.Join(dir, logDir, name), make([]byte, 512), 0o600))
	}
	_, err := openDisk(dir, newLogger(testLog("ams")))
	require.ErrorIs(t, err, errDamaged)
}

// TestALogOfAnOlderVersion has one in raft-wal's own database, without checksums.
func TestALogOfAnOlderVersion(t *testing.T) {
	dir := t.TempDir()
	logs := filepath.Join(dir, logDir)
	require.NoError(t, os.Mkdir(logs, 0o700))
	db := &metadb.BoltMetaDB{}
	old, err := wal.Open(logs, wal.WithMetaStore(db), wal.WithSegmentSize(segmentSize))
	require.NoError(t, err)
	require.NoError(t, old.StoreLogs(entries(1, 5, 2)))
	require.NoError(t, old.SetUint64([]byte("CurrentTerm"), 4))
	require.NoError(t, old.SetUint64([]byte("LastVoteTerm"), 4))
	require.NoError(t, old.Set([]byte("LastVoteCand"), []byte("nyc")))
	require.NoError(t, errors.Join(old.Close(), db.Close()))
	for range 2 {
		d, err := openDisk(dir, newLogger(testLog("ams")))
		require.NoError(t, err)
		last, err := d.LastIndex()
		require.NoError(t, err)
		m := remembered(t, d)
		require.Equal(t, memory{4, 4, "nyc", m.Logs, m.Snapshot}, m)
		require.Len(t, m.Logs, int(last))
		require.NoError(t, d.StoreLogs(entries(last+1, last+1, 4)))
		require.NoError(t, d.Close())
		require.NoFileExists(t, filepath.Join(logs, metadb.FileName))
	}
}

// spoil flips bytes in the middle of a server's log.
func (m *mesh) spoil(node string) {
	m.t.Helper()
	segments, err := filepath.Glob(filepath.Join(m.dirs[node], logDir, "*.wal"))
	require.NoError(m.t, err)
	require.Len(m.t, segments, 1)
	data, err := os.ReadFile(segments[0])
	require.NoError(m.t, err)
	middle := len(strings.TrimRight(string(data), "\x00")) / 2
	for i := range 16 {
		data[middle+i] ^= 0xff
	}
	require.NoError(m.t, os.WriteFile(segments[0], data, 0o600))
}

// TestADamagedServerDoesNotVote is TestLostMemory, with a log of which the middle is damaged.
func TestADamagedServerDoesNotVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, time.Millisecond, quick(), servers...)
		leader := m.leader(servers...)
		m.found(leader)
		spoilt, behind := others(leader)[0], others(leader)[1]
		m.agree(servers...)
		m.net.isolate(behind, servers, true)
		require.True(t, m.propose(leader, register("x", false)).OK)
		m.agree(leader, spoilt)
		m.kill(spoilt)
		m.kill(leader)
		m.spoil(spoilt)
		m.net.heal()
		m.open(spoilt)
		require.True(t, damaged(m.dirs[spoilt]))
		ctx, cancel := contextWithTimeout(m, 3*time.Second)
		defer cancel()
		_, err := m.nodes[behind].Propose(ctx, register("y", false))
		require.Error(t, err, "a server with a hole in its log voted")

		m.open(leader)
		m.votes(servers, servers...)
		m.agree(servers...)
		_, ok := m.nodes[spoilt].View().Node("x")
		require.True(t, ok)
		require.Eventually(t, func() bool { return !damaged(m.dirs[spoilt]) }, time.Minute, time.Second, "what is damaged is kept until it isn't needed")
	})
}

// TestDamagedServersBeginNothing has all servers be damaged: they know that there was a mesh.
func TestDamagedServersBeginNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 0, quick(), servers...)
		m.found(m.leader(servers...))
		m.agree(servers...)
		for _, s := range servers {
			m.kill(s)
			m.spoil(s)
		}
		for range 2 { // also when they start once more
			for _, s := range servers {
				m.open(s)
			}
			for _, s := range servers {
				require.Eventually(t, func() bool { return m.nodes[s].Status().Waiting != "" }, 20*time.Second, 5*time.Millisecond)
				require.Nil(t, m.nodes[s].seat.Load())
				require.DirExists(t, filepath.Join(m.dirs[s], damagedDir, logDir))
			}
			<-time.After(time.Minute)
			for _, s := range servers {
				require.Nil(t, m.nodes[s].seat.Load())
				m.stop(s)
			}
		}
		m.open("ams")
		require.Eventually(t, func() bool {
			return m.nodes["ams"].Status().Waiting == "its log is damaged, and no other server of the mesh answers"
		}, 20*time.Second, 5*time.Millisecond)
	})
}
