package quorum

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// told is what a server's disk has acknowledged, and what was under way when the power failed.
type told struct {
	t         *testing.T
	term      uint64
	logs      map[uint64]uint64 // terms of entries
	last      uint64
	snapshot  uint64 // entries up to this one are committed, and in a snapshot
	compacted uint64 // entries up to this one may be gone

	newTerm uint64            // under way
	newLogs map[uint64]uint64 // under way; nil if nothing is
	cut     uint64            // under way: entries from this one on may be gone; 0 is none
}

// act does something at random to a disk. It returns false if that failed.
func (k *told) act(d *store, r *rand.Rand) bool {
	switch n := r.IntN(10); {
	case n < 5:
		logs := entries(k.last+1, k.last+1+uint64(r.IntN(6)), k.term)
		k.newLogs = map[uint64]uint64{}
		for _, l := range logs {
			k.newLogs[l.Index] = l.Term
		}
		if d.StoreLogs(logs) != nil {
			return false
		}
		for i, term := range k.newLogs {
			k.logs[i] = term
		}
		k.last, k.newLogs = logs[len(logs)-1].Index, nil
	case n < 7:
		k.newTerm = k.term + 1
		if d.SetUint64([]byte("CurrentTerm"), k.newTerm) != nil {
			return false
		}
		k.term = k.newTerm
	case n < 8:
		return d.mark() == nil
	case n < 9 && k.last > k.snapshot:
		k.cut = k.snapshot + 1 + uint64(r.IntN(int(k.last-k.snapshot)))
		if d.DeleteRange(k.cut, k.last) != nil {
			return false
		}
		k.shorten()
	case k.last > k.snapshot:
		k.snapshot = k.last
		if d.meta.change(func(r *record) { r.Snapshot.Index = k.snapshot }) != nil { // as snapshotStore does
			return false
		}
		first, err := d.FirstIndex()
		require.NoError(k.t, err)
		k.compacted = k.snapshot - uint64(r.IntN(int(k.snapshot-k.compacted)))
		return d.DeleteRange(first, k.compacted) == nil
	}
	return true
}

func (k *told) shorten() {
	for i := k.cut; i <= k.last; i++ {
		delete(k.logs, i)
	}
	k.last, k.cut = k.cut-1, 0
}

// compare finds what was acknowledged on a disk after the power failed, and goes on from what is there.
func (k *told) compare(d *store, seed uint64) {
	at := fmt.Sprintf("seed %d", seed)
	require.NoError(k.t, d.check(raft.SnapshotMeta{Index: k.snapshot}), "%s: nothing is damaged", at)
	term, err := d.GetUint64([]byte("CurrentTerm"))
	require.NoError(k.t, err)
	require.Contains(k.t, []uint64{k.term, max(k.term, k.newTerm)}, term, at)
	first, err := d.FirstIndex()
	require.NoError(k.t, err)
	last, err := d.LastIndex()
	require.NoError(k.t, err)
	empty := last == 0
	if empty { // all that there was is in a snapshot
		last = k.compacted
	}
	require.LessOrEqual(k.t, first, k.compacted+1, at)
	if k.cut > 0 && last == k.cut-1 {
		k.shorten()
	}
	require.GreaterOrEqual(k.t, last, k.last, "%s: an entry that was acknowledged is lost", at)
	for i := max(first, 1); !empty && i <= last; i++ {
		var l raft.Log
		require.NoError(k.t, d.GetLog(i, &l), at)
		want, ok := k.logs[i]
		if !ok {
			want, ok = k.newLogs[i]
		}
		require.True(k.t, ok, "%s: nobody wrote entry %d", at, i)
		require.Equal(k.t, entries(i, i, want)[0].Data, l.Data, "%s: entry %d", at, i)
		k.logs[i] = want
	}
	k.term, k.last, k.newTerm, k.newLogs, k.cut = term, last, 0, nil, 0
}

// TestEveryUnsyncedWriteIsLost has the power fail at any operation on the disk, also while the log is opened again, and
// what wasn't synced be there or not: what a server has acknowledged is, and nothing seems damaged.
func TestEveryUnsyncedWriteIsLost(t *testing.T) {
	failures := 0
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 2))
		files := newPowerDisk(r)
		k := &told{t: t, term: 0, logs: map[uint64]uint64{}}
		for range 8 {
			files.restart(1 + r.IntN(60))
			d, err := openOn(files)
			if failed := files.failed(); err != nil || failed {
				require.True(t, failed, "seed %d: %v", seed, err)
				failures++
				if err == nil {
					_ = d.Close() // what is left of it in memory
				}
				continue
			}
			k.compare(d, seed)
			for k.act(d, r) {
			}
			require.True(t, files.failed(), "seed %d: it takes no more", seed)
			failures++
			_ = d.Close()
		}
		files.restart(1000)
		d, err := openOn(files)
		require.NoError(t, err, "seed %d", seed)
		k.compare(d, seed)
		require.NoError(t, d.Close())
	}
	t.Logf("%d power failures", failures)
}

// TestADiskThatLies has one say that it has synced what it has not: then something is lost, which shows that the other
// test would notice.
func TestADiskThatLies(t *testing.T) {
	lost := 0
	for seed := range uint64(20) {
		files := newPowerDisk(rand.New(rand.NewPCG(seed, 3)))
		files.restart(1000)
		d, err := openOn(files)
		require.NoError(t, err)
		require.NoError(t, d.StoreLogs(entries(1, 9, 1)))
		files.lies = true
		require.NoError(t, d.StoreLogs(entries(10, 12, 1)))
		require.NoError(t, d.Close()) // notes that there are twelve, which is lost too
		files.lies = false
		files.restart(1000)
		d, err = openOn(files)
		require.NoError(t, err)
		last, err := d.LastIndex()
		require.NoError(t, err)
		if last < 12 {
			lost++
		}
		require.NoError(t, d.Close())
	}
	require.Positive(t, lost)
}

// openOn opens a log in small segments on a powerDisk.
func openOn(files *powerDisk) (*store, error) {
	return openStore("", files, 4<<10, newLogger(testLog("ams")))
}
